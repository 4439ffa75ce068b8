"""Pages that several tests look at, each made once, and parts of pages without their figures."""

from functools import cache

from hand_made_certificates import honest_certificate
from hand_made_pictures import pictured_certificate
from hostile_texts import hostile_certificate
from parsed_page import Page

from reports.html import content, render
from reports.page import environment
from reports.plots import plots

_OTHERS = {"hostile": hostile_certificate, "pictures": pictured_certificate}


@cache
def page_of(name):
    """The page of an honest certificate with this verdict, or of the hostile or pictured one."""
    made = _OTHERS.get(name)
    return render(honest_certificate(name) if made is None else made())


@cache
def parsed(name):
    """The same as a parser sees it."""
    return Page(page_of(name))


def part(name, certificate, signatures=None):
    """One template of the page, of a certificate; figures, which cost most, are left out.

    Args:
        name: of the template, for example ``front``.
        certificate: what is shown.
        signatures: what is known of its signatures.
    """
    template = environment().get_template(f"{name}.html.j2")
    return template.render(plots=plots(certificate, ()), **content(certificate, signatures))
