"""`auditor policy`: the ready-made policies, and whether a file is one."""

import json

import click

from auditor.cli.completion import among, policies
from auditor.cli.console import OUT, foreign, next_step
from auditor.cli.options import json_option
from auditor.policy import load_policy, ready_made


@click.group("policy")
def command() -> None:
    """List, show and check policies: what decides a verdict."""


@command.command("list")
@json_option
def list_policies(as_json: bool) -> None:
    """Name the policies that come with this package."""
    policies = {name: load_policy(name) for name in ready_made()}
    if as_json:
        click.echo(json.dumps({name: p.model_dump(mode="json") for name, p in policies.items()}))
        return
    for name, policy in policies.items():
        limits = f"margin {policy.delta:g}, at least {policy.minimum_facts} fact(s) and "
        limits += f"{policy.minimum_retrained} retrained model(s)"
        days = f", valid for {policy.valid_days} days" if policy.valid_days else ""
        OUT.print(f"[bold]{name}[/]: {limits}{days}", highlight=False)
    next_step("auditor policy show NAME; auditor audit PLAN --policy NAME")


@command.command("show")
@click.argument("name", shell_complete=among(policies))
def show_policy(name: str) -> None:
    """Print a ready-made policy, to start a policy of your own from."""
    texts = ready_made()
    if name not in texts:
        load_policy(name)  # says what there is
    click.echo(texts[name], nl=False)
    next_step(f"auditor policy show {name} > own.yaml; auditor policy check own.yaml", beside=True)


@command.command("check")
@click.argument(
    "files",
    metavar="POLICY.yaml...",
    nargs=-1,
    required=True,
    shell_complete=among(policies, or_file=True),
)
@json_option
def check_policy(files: tuple[str, ...], as_json: bool) -> None:
    """Check policies and print their digests, which certificates name."""
    for policy in files:
        checked = load_policy(policy)
        if as_json:
            content = checked.model_dump(mode="json") | {"digest": checked.digest}
            click.echo(json.dumps(content))
            continue
        OUT.print(foreign(f"{checked.name}: a valid policy"))
        OUT.print(f"digest: {checked.digest}", highlight=False)
        for waiver in checked.waivers:
            said = f"{waiver.reason} ({waiver.by})"
            OUT.print(foreign(f"waives {waiver.attack} until {waiver.until}: {said}"))
    if not as_json:
        next_step(f"auditor audit PLAN --policy {files[-1]}")
