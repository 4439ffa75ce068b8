"use strict";
// Facts by attacks by models: a grid of K that is drawn as far as it can be seen, and what lies
// behind each of its cells. Every text goes into the page as text, never as markup.
(() => {
  const ABSENT = 65535;
  const FINEST = 65000;
  const LEAK = 1;
  const ROW = 44; // pixels, as in the stylesheet
  const BEYOND = 8; // rows that are drawn above and below what is seen
  const PAUSE = 120; // milliseconds without a key after which a search begins

  const page = JSON.parse(document.getElementById("index").textContent);
  const byId = (name) => document.getElementById(name);
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const counted = (number) => number.toLocaleString("en");

  function make(name, properties = {}, ...children) {
    const { data = {}, aria = {}, role, ...others } = properties;
    const part = Object.assign(document.createElement(name), others);
    Object.assign(part.dataset, data);
    if (role) part.setAttribute("role", role);
    for (const [key, value] of Object.entries(aria)) part.setAttribute(`aria-${key}`, value);
    part.append(...children);
    return part;
  }

  const said = (text, className = "said") => make("span", { className, dir: "auto" }, text);
  const missing = (text) => make("span", { className: "missing" }, text);

  // Data: JSON from the server that sent the page; scripts beside a page that lies on a disk, which
  // may read no file of its folder.
  const held = new Map();
  const waiting = new Map();
  globalThis.auditorEvidence = (name, content) => waiting.get(name)?.(content);

  function fromScript(name) {
    return new Promise((resolve, reject) => {
      waiting.set(name, resolve);
      const script = make("script", { src: `${page.folder}${name}.js`, async: true });
      script.addEventListener("error", () => reject(new Error(`${name} cannot be read`)));
      script.addEventListener("load", () => script.remove());
      document.head.append(script);
    });
  }

  async function fromServer(name) {
    const answer = await fetch(`${page.folder}${name}.json`);
    if (!answer.ok) throw new Error(`${name} cannot be read (${answer.status})`);
    return answer.json();
  }

  function data(name) {
    if (!held.has(name)) {
      const asked = page.scripts ? fromScript(name) : fromServer(name);
      asked.catch(() => held.delete(name));
      held.set(name, asked);
    }
    return held.get(name);
  }

  function bytes(text) {
    const binary = atob(text);
    const found = new Uint8Array(binary.length);
    for (let place = 0; place < binary.length; place++) found[place] = binary.charCodeAt(place);
    return found;
  }

  function numbers(text) {
    const found = bytes(text);
    return new DataView(found.buffer, 0, found.length);
  }

  // What is shown, and in which order.
  const state = {
    set: page.sets[0]?.name,
    metric: 0,
    show: "unlearned",
    family: "",
    sort: "above",
    down: true,
    leaked: false,
    words: [],
    rows: [], // numbers of the facts, in the order of the rows
    columns: [],
    at: [1, 1], // row and column of the cell that has the focus; 0 are the heads
    open: null,
  };
  let facts = null;
  let known = null;

  const baselines = page.arms.filter((arm) => arm.baseline).map((arm) => arm.name);

  function k(arm, attack, fact) {
    const view = arm === "baseline" ? known.baseline : known.arms[arm];
    if (!view) return NaN;
    const code = view.getUint16(2 * (attack * facts.id.length + fact), true);
    return code === ABSENT ? NaN : code / FINEST;
  }
  const above = (attack, fact) => k("unlearned", attack, fact) - k("baseline", attack, fact);
  const leaks = (attack, fact) => known.leaks[attack * facts.id.length + fact] === LEAK;

  function value(column, fact) {
    return column.arm === "above" ? above(column.attack, fact) : k(column.arm, column.attack, fact);
  }

  const short = (number) =>
    Number.isNaN(number)
      ? "–"
      : number
          .toFixed(2)
          .replace("-", "\u2212")
          .replace(/^(\u2212?)0\./, "$1.")
          .replace("1.00", "1.0");
  const whole = (number) => (Number.isNaN(number) ? "not measured" : number.toFixed(3));
  const level = (number) => Math.round(10 * Math.min(1, Math.max(0, number)));

  async function load() {
    const set = state.set;
    const metric = state.metric;
    tell("Reading the evidence …");
    const [texts, read] = await Promise.all([data(`facts-${set}`), data(`k-${set}-${metric}`)]);
    if (set !== state.set || metric !== state.metric) return;
    facts = texts;
    facts.plain ??= facts.id.map((id, fact) =>
      plain([id, facts.entity[fact], facts.prompt[fact], facts.answer[fact]].join("\n")),
    );
    read.views ??= {
      arms: Object.fromEntries(
        Object.entries(read.arms).map(([arm, text]) => [arm, numbers(text)]),
      ),
      baseline: numbers(read.baseline),
      leaks: bytes(read.leaks),
    };
    known = read.views;
    summarise();
  }

  // For each fact: the most that is above the baseline under any attack that is shown, where that
  // is, and under how many attacks it leaks.
  let most = new Float32Array(0);
  let worst = new Int16Array(0);
  let count = new Int16Array(0);

  function shownAttacks() {
    return page.attacks.flatMap((attack, place) =>
      state.family && attack.family !== state.family ? [] : [place],
    );
  }

  function summarise() {
    const size = facts.id.length;
    const attacks = shownAttacks();
    most = new Float32Array(size).fill(NaN);
    worst = new Int16Array(size).fill(-1);
    count = new Int16Array(size);
    for (const attack of attacks) {
      for (let fact = 0; fact < size; fact++) {
        if (leaks(attack, fact)) count[fact] += 1;
        const own = above(attack, fact);
        if (own > most[fact] || (Number.isNaN(most[fact]) && !Number.isNaN(own))) {
          most[fact] = own;
          worst[fact] = attack;
        }
      }
    }
    const arms =
      state.show === "all" ? page.arms.map((arm) => arm.name) : [state.show];
    state.columns = attacks.flatMap((attack) =>
      arms.map((arm, place) => ({ attack, arm, first: place === 0 && arms.length > 1 })),
    );
    byId("leaked-count").textContent = counted(count.reduce((sum, own) => sum + (own > 0), 0));
    heads();
    arrange();
  }

  const KEYS = {
    above: { name: "most above the baseline", of: (fact) => most[fact] },
    leaks: { name: "attacks under which it leaks", of: (fact) => count[fact] },
    fact: { name: "order of the file", of: (fact) => -fact },
    name: { name: "entity and fact", of: (fact) => `${facts.entity[fact]} ${facts.id[fact]}` },
  };

  function key() {
    if (KEYS[state.sort]) return KEYS[state.sort];
    const column = state.columns.find((one) => columnName(one) === state.sort);
    if (column) return { name: title(column), of: (fact) => value(column, fact) };
    state.sort = "above";
    return KEYS.above;
  }

  const columnName = (column) => `${column.attack}/${column.arm}`;

  // What is missing goes last, whichever way the others are sorted.
  function compare(a, b) {
    if (typeof a === "string") return state.down ? order.compare(a, b) : order.compare(b, a);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return state.down ? b - a : a - b;
  }

  function arrange() {
    const by = key();
    const rows = [];
    for (let fact = 0; fact < facts.id.length; fact++) {
      if (state.leaked && count[fact] === 0) continue;
      if (state.words.every((word) => facts.plain[fact].includes(word))) rows.push(fact);
    }
    const keys = new Map(rows.map((fact) => [fact, by.of(fact)]));
    rows.sort((a, b) => compare(keys.get(a), keys.get(b)) || a - b);
    state.rows = rows;
    state.at = [Math.min(state.at[0], rows.length), Math.min(state.at[1], width() - 1)];
    const way = by === KEYS.fact || by === KEYS.name ? "" : state.down ? ", largest first" : ", smallest first";
    tell(
      `${counted(rows.length)} of ${counted(facts.id.length)} facts shown; sorted by ${by.name}${way}`,
    );
    sizer.style.height = `${ROW * rows.length}px`;
    grid.setAttribute("aria-rowcount", rows.length + 1);
    grid.setAttribute("aria-colcount", width());
    byId("nothing").hidden = rows.length > 0;
    scroller.scrollTop = 0;
    markSorted();
    draw(true);
  }

  // The grid.
  const scroller = byId("scroller");
  const grid = byId("grid");
  const head = byId("head");
  const sizer = byId("rows");
  const width = () => 2 + state.columns.length;
  let drawn = [0, 0];

  const tell = (text) => {
    byId("status").textContent = text;
  };
  const arm = (name) => page.arms.find((one) => one.name === name);

  function armTitle(name) {
    if (name === "above") return "above the baseline";
    return arm(name)?.title ?? name;
  }

  function title(column) {
    return `${page.attacks[column.attack].label}, ${armTitle(column.arm)}`;
  }

  function headCell(column, name, inner, label) {
    return make(
      "div",
      {
        role: "columnheader",
        className: `cell ${name}`,
        tabIndex: -1,
        title: label,
        data: { column },
        aria: { colindex: column + 1, label },
      },
      inner,
    );
  }

  function heads() {
    const sides = state.columns.map((column, place) => {
      const text = make("span", { className: "up" });
      const attack = page.attacks[column.attack];
      if (state.show === "all") text.append(make("b", {}, `${arm(column.arm).short} `));
      if (state.show !== "all" || column.first) {
        const [name, ...level_] = attack.label.split(" ");
        text.append(said(name), said(level_.join(" "), "said unit"));
      }
      const part = headCell(place + 2, "num", text, `${attack.plain}: ${title(column)}. Sort`);
      part.classList.toggle("first", column.first);
      return part;
    });
    head.replaceChildren(
      headCell(0, "name", "Fact", "Fact: sort by entity"),
      headCell(1, "count", make("span", { className: "up" }, "Leaks under"), "Number of attacks under which it leaks. Sort"),
      ...sides,
    );
    sizer.style.width = head.style.width = "max-content";
  }

  const sortOf = (column) =>
    column === 0 ? "name" : column === 1 ? "leaks" : columnName(state.columns[column - 2]);

  function markSorted() {
    for (const part of head.children) {
      const sorted = sortOf(Number(part.dataset.column)) === state.sort;
      if (!sorted) part.removeAttribute("aria-sort");
      else if (state.sort === "name") part.setAttribute("aria-sort", state.down ? "ascending" : "descending");
      else part.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    }
    byId("sort").value = KEYS[state.sort] ? state.sort : "";
  }

  function cell(row, column, fact) {
    const { attack, arm: of } = column;
    const number = value(column, fact);
    const leaked = (of === "unlearned" || of === "above") && leaks(attack, fact);
    const absent = Number.isNaN(number);
    const part = make("div", {
      role: "gridcell",
      tabIndex: -1,
      className: `cell num ${absent ? "absent" : `h${level(number)}`}${leaked ? " leak" : ""}${column.first ? " first" : ""}`,
      aria: { label: `${title(column)}: ${whole(number)}${leaked ? ", leaks" : ""}` },
    });
    part.append(leaked ? `\u25c6${short(number)}` : short(number));
    return part;
  }

  function rowOf(place) {
    const fact = state.rows[place];
    const row = make("div", { role: "row", className: "row", aria: { rowindex: place + 2 } });
    row.style.transform = `translateY(${ROW * place}px)`;
    const all = shownAttacks().length;
    const name = make(
      "div",
      { role: "rowheader", className: "cell name", tabIndex: -1 },
      said(facts.prompt[fact], "said prompt"),
      said(`${facts.entity[fact]} · ${facts.id[fact]}`, "said of"),
    );
    const often = make(
      "div",
      {
        role: "gridcell",
        className: "cell count",
        tabIndex: -1,
        aria: { label: `leaks under ${count[fact]} of ${all} attacks` },
      },
      count[fact] ? make("b", {}, `\u25c6 ${count[fact]}`) : "0",
    );
    row.append(name, often, ...state.columns.map((column) => cell(place, column, fact)));
    [...row.children].forEach((part, column) => {
      part.dataset.row = place + 1;
      part.dataset.column = column;
      part.setAttribute("aria-colindex", column + 1);
    });
    if (state.open?.fact === fact) row.classList.add("open");
    return row;
  }

  function draw(anew = false) {
    const first = Math.max(0, Math.floor(scroller.scrollTop / ROW) - BEYOND);
    const last = Math.min(
      state.rows.length,
      Math.ceil((scroller.scrollTop + scroller.clientHeight) / ROW) + BEYOND,
    );
    if (!anew && first === drawn[0] && last === drawn[1]) return;
    const focused = grid.contains(document.activeElement);
    const kept = new Map();
    if (!anew) {
      for (const row of sizer.children) kept.set(Number(row.firstChild.dataset.row) - 1, row);
    }
    const rows = [];
    for (let place = first; place < last; place++) rows.push(kept.get(place) ?? rowOf(place));
    sizer.replaceChildren(...rows);
    drawn = [first, last];
    roving(focused);
    if (!performance.getEntriesByName("drawn").length) performance.mark("drawn");
  }

  // One cell takes part in the order of the Tab key; arrows lead to the others.
  function roving(focus) {
    for (const part of grid.querySelectorAll('[tabindex="0"]')) part.tabIndex = -1;
    const part = at(...state.at) ?? at(0, Math.min(state.at[1], width() - 1));
    if (!part) return;
    part.tabIndex = 0;
    if (focus && part !== document.activeElement) part.focus({ preventScroll: true });
  }

  function at(row, column) {
    return row === 0
      ? head.children[column]
      : sizer.querySelector(`[data-row="${row}"][data-column="${column}"]`);
  }

  function moveTo(row, column) {
    const rows = state.rows.length;
    state.at = [Math.min(Math.max(row, 0), rows), Math.min(Math.max(column, 0), width() - 1)];
    const top = ROW * (state.at[0] - 1);
    const room = scroller.clientHeight - head.offsetHeight;
    if (state.at[0] > 0) {
      if (top < scroller.scrollTop) scroller.scrollTop = top;
      else if (top + ROW > scroller.scrollTop + room) scroller.scrollTop = top + ROW - room;
    }
    draw();
    const part = at(...state.at);
    const names = head.firstChild.offsetWidth;
    if (state.at[1] > 0) {
      const left = part.offsetLeft - names;
      const over = part.offsetLeft + part.offsetWidth - scroller.clientWidth;
      if (scroller.scrollLeft > left) scroller.scrollLeft = left;
      else if (scroller.scrollLeft < over) scroller.scrollLeft = over;
    }
    roving(true);
  }

  function sortBy(name) {
    state.down = state.sort === name ? !state.down : true;
    state.sort = name;
    arrange();
  }

  function act(row, column) {
    if (row === 0) sortBy(sortOf(column));
    else {
      const fact = state.rows[row - 1];
      open(fact, column > 1 ? state.columns[column - 2].attack : Math.max(worst[fact], 0));
    }
  }

  const leaps = () => Math.max(1, Math.floor((scroller.clientHeight - head.offsetHeight) / ROW) - 1);
  const MOVES = {
    ArrowUp: ([row, column]) => [row - 1, column],
    ArrowDown: ([row, column]) => [row + 1, column],
    ArrowLeft: ([row, column]) => [row, column - 1],
    ArrowRight: ([row, column]) => [row, column + 1],
    PageUp: ([row, column]) => [Math.max(1, row - leaps()), column],
    PageDown: ([row, column]) => [row + leaps(), column],
    Home: ([row], whole_) => (whole_ ? [1, 0] : [row, 0]),
    End: ([row], whole_) => (whole_ ? [state.rows.length, width() - 1] : [row, width() - 1]),
  };

  grid.addEventListener("keydown", (event) => {
    if (event.altKey || event.metaKey) return;
    if (event.key === "Enter" || event.key === " ") act(...state.at);
    else if (MOVES[event.key]) moveTo(...MOVES[event.key](state.at, event.ctrlKey));
    else return;
    event.preventDefault();
  });
  grid.addEventListener("click", (event) => {
    const part = event.target.closest("[data-column]");
    if (!part) return;
    state.at = [Number(part.dataset.row ?? 0), Number(part.dataset.column)];
    roving(true);
    act(...state.at);
  });
  grid.addEventListener("focusin", (event) => {
    const part = event.target.closest("[data-column]");
    if (part) state.at = [Number(part.dataset.row ?? 0), Number(part.dataset.column)];
  });
  scroller.addEventListener("scroll", () => draw());
  new ResizeObserver(() => facts && draw()).observe(scroller);

  // What lies behind a cell.
  const panel = byId("panel");
  const wide = matchMedia("(min-width: 64rem)");

  function address(fact, attack) {
    const parts = new URLSearchParams({ set: state.set, fact: facts.id[fact] });
    parts.set("attack", page.attacks[attack].label);
    return `#${parts}`;
  }

  async function open(fact, attack, focus = true) {
    const set = state.set;
    state.open = { fact, attack };
    mark();
    byId("panel-body").replaceChildren(make("p", { className: "meta" }, "Reading the answers …"));
    byId("panel-title").replaceChildren(said(facts.prompt[fact]));
    if (!panel.open) {
      if (wide.matches) panel.show();
      else panel.showModal();
    }
    document.body.classList.toggle("beside-panel", wide.matches);
    history.replaceState(null, "", address(fact, attack));
    if (focus) byId("panel-title").focus();
    const part = Math.floor(fact / page.atOnce);
    const asked = [...new Set([page.asIs ?? attack, attack])];
    try {
      const answers = await Promise.all(asked.map((one) => data(`answers-${set}-${one}-${part}`)));
      if (set !== state.set || state.open?.fact !== fact || state.open.attack !== attack) return;
      const place = fact - answers[0].first;
      byId("panel-body").replaceChildren(
        ...details(fact, attack, place, answers[0], answers.at(-1)),
      );
    } catch (error) {
      byId("panel-body").replaceChildren(
        missing(`The answers cannot be shown: ${error.message}.`),
      );
    }
  }

  function mark() {
    for (const row of sizer.children) {
      const fact = state.rows[Number(row.firstChild.dataset.row) - 1];
      row.classList.toggle("open", state.open?.fact === fact);
    }
  }

  function close() {
    if (!panel.open) return;
    panel.close();
  }
  panel.addEventListener("close", () => {
    document.body.classList.remove("beside-panel");
    state.open = null;
    mark();
    history.replaceState(null, "", `${location.pathname}${location.search}`);
    const part = at(...state.at);
    if (part) part.focus({ preventScroll: true });
    else moveTo(...state.at);
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      close();
    }
  });
  byId("close").addEventListener("click", close);

  function step(by) {
    const row = state.rows.indexOf(state.open.fact) + by;
    if (row < 0 || row >= state.rows.length) return;
    state.at = [row + 1, state.at[1]];
    const focused = document.activeElement;
    moveTo(...state.at);
    open(state.rows[row], state.open.attack, false);
    focused.focus();
  }
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));

  const term = (name, ...content) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, ...content));

  function details(fact, attack, place, asIs, under) {
    const own = page.attacks[attack];
    const chosen = make("select", { id: "under" });
    page.attacks.forEach((one, number) => {
      const told = leaks(number, fact) ? `\u25c6 ${one.label}` : one.label;
      const option = make("option", { value: number, selected: number === attack }, told);
      chosen.append(option);
    });
    chosen.addEventListener("change", () => {
      open(fact, Number(chosen.value), false).then(() => byId("under")?.focus());
    });
    const link = make("a", { href: address(fact, attack) }, said(facts.id[fact]));
    return [
      make(
        "dl",
        { className: "facts" },
        term("True answer", make("strong", {}, said(facts.answer[fact]))),
        term("Entity", said(facts.entity[fact])),
        term("Fact", link),
        term("Prompt as read", ...readPrompt(place, asIs)),
      ),
      make(
        "p",
        { className: "under" },
        make("label", { htmlFor: "under" }, "Under the attack "),
        chosen,
      ),
      make("p", { className: "meta" }, said(own.plain), ". ", ...toldOf(attack, fact)),
      answersTable(fact, attack, place, asIs, under),
      ...tokensOf(place, under),
      metricsTable(place, under),
      ...notesOf(under),
    ];
  }

  function readPrompt(place, asIs) {
    const text = asIs.read[place];
    if (text === null) return [missing("Not kept in the evidence.")];
    const how = asIs.rebuilt[place]
      ? "(put together: within what the original reads around the first fact of this set)"
      : "(as the original reads it, without attack)";
    return [said(text), " ", make("span", { className: "cut" }, how)];
  }

  function toldOf(attack, fact) {
    const more = above(attack, fact);
    if (leaks(attack, fact)) {
      return [make("strong", { className: "outcome leak" }, "\u25c6 It leaks"), `: K is ${whole(more)} above the baseline.`];
    }
    return Number.isNaN(more)
      ? ["How far K is above the baseline was not measured."]
      : [`K is ${whole(more)} above the baseline; it does not leak.`];
  }

  function answer(of, place) {
    if (!of) return [missing("not measured")];
    const parts = [];
    const asked = of.asked[place];
    if (asked !== null) parts.push(make("span", { className: "unit" }, "asked: ", said(asked)), make("br"));
    const drew = of.pictures[place];
    if (drew) parts.push(make("img", { src: drew, alt: "Picture that the model drew", className: "drawn" }));
    if (of.said[place] === "") parts.push(missing("(empty)"));
    else if (of.said[place] !== null) parts.push(said(of.said[place]));
    if (!parts.length) parts.push(missing("no answer was recorded"));
    return parts;
  }

  function measure(number) {
    const name = Number.isNaN(number) ? "absent" : `h${level(number)}`;
    return make("span", { className: `swatch ${name}` }, short(number));
  }

  function answersTable(fact, attack, place, asIs, under) {
    const released = page.asIs !== null && page.asIs !== attack;
    const names = ["Model", ...(released ? ["As released"] : []), released ? "Under attack" : "As released"];
    const top = make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name)));
    const body = make("tbody");
    for (const one of page.arms) {
      const first = make("th", { scope: "row" }, make("span", {}, one.title), make("span", { className: "unit" }, one.meaning));
      const cells = (released ? [[page.asIs, asIs], [attack, under]] : [[attack, under]]).map(
        ([of, read], column) => {
          const part = make("td", { data: { label: names[column + 1] } }, make("span", { className: "unit" }, "K ", measure(k(one.name, of, fact))), ...answer(read.arms[one.name], place));
          return part;
        },
      );
      const row = make("tr", {}, first, ...cells);
      if (one.name === "unlearned") row.className = "unlearned";
      body.append(row);
    }
    return make("table", { className: "stack answers" }, make("caption", {}, "Answers of all models"), make("thead", {}, top), body);
  }

  function tokensOf(place, under) {
    const rows = page.arms.flatMap((one) =>
      Object.entries(under.arms[one.name]?.tokens ?? {}).flatMap(([way, by]) =>
        by[place] ? [[one, way, by[place]]] : [],
      ),
    );
    if (!rows.length) return [];
    const list = rows.map(([one, way, logs]) =>
      term(
        `${one.title}, ${way}`,
        ...logs.flatMap((log) => [measure(Math.exp(log)), " "]),
      ),
    );
    return [
      make("h3", {}, "Probability of each token of the text that was scored"),
      make("dl", { className: "facts tokens" }, ...list),
    ];
  }

  function metricsTable(place, under) {
    const arms = page.arms.filter((one) => under.arms[one.name]);
    const names = page.metrics.filter((name) => arms.some((one) => under.arms[one.name].k[name]));
    const top = make("tr", {}, make("th", { scope: "col" }, "Metric"), ...arms.map((one) => make("th", { scope: "col", className: "n", title: one.title }, one.short)));
    const rows = names.map((name) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, said(name)),
        ...arms.map((one) => {
          const number = under.arms[one.name].k[name]?.[place] ?? NaN;
          return make("td", { className: "n" }, Number.isNaN(number) ? missing("\u2013") : whole(number));
        }),
      ),
    );
    const seeds = Math.max(1, ...arms.map((one) => under.arms[one.name].seeds));
    const caption = seeds > 1 ? `K by every metric, mean of ${seeds} seeds; the answers are of the first` : "K by every metric";
    return make("div", { className: "scroller", tabIndex: 0, role: "region", aria: { label: "K by every metric" } }, make("table", { className: "narrow" }, make("caption", {}, caption), make("thead", {}, top), make("tbody", {}, ...rows)));
  }

  function notesOf(under) {
    return page.arms.flatMap((one) => {
      const noted = under.arms[one.name]?.notes;
      if (!noted) return [];
      return [make("details", {}, make("summary", {}, `What was noted of ${one.title}`), make("pre", {}, make("code", {}, noted)))];
    });
  }

  // The controls.
  function choose(name, options, change) {
    const field = byId(name);
    field.replaceChildren(...options.map(([key_, text]) => make("option", { value: key_ }, text)));
    field.closest("label").hidden = options.length < 2;
    field.addEventListener("change", () => {
      change(field.value);
    });
  }

  const failed = (error) => tell(`The evidence cannot be shown: ${error.message}.`);
  choose("set", page.sets.map((one) => [one.name, `${one.name} (${counted(one.facts)})`]), (name) => {
    close();
    state.set = name;
    load().catch(failed);
  });
  choose("metric", ["leading metric of each attack", ...page.metrics].map((name, place) => [place, name]), (place) => {
    state.metric = Number(place);
    load().catch(failed);
  });
  choose(
    "show",
    [
      ["unlearned", "unlearned model"],
      ["above", "unlearned model above the baseline"],
      ...(baselines.length ? [["baseline", "baseline (mean)"]] : []),
      ["all", "all models, side by side"],
      ...page.arms.filter((one) => one.name !== "unlearned").map((one) => [one.name, one.title]),
    ],
    (name) => {
      state.show = name;
      summarise();
    },
  );
  choose("family", [["", "all"], ...[...new Set(page.attacks.map((one) => one.family))].map((name) => [name, name])], (name) => {
    state.family = name;
    summarise();
  });
  choose("sort", [...Object.entries(KEYS).map(([name, one]) => [name, one.name]), ["", "a column"]], (name) => {
    if (!name) return;
    state.down = true;
    state.sort = name;
    arrange();
  });
  byId("leaked").addEventListener("change", (event) => {
    state.leaked = event.target.checked;
    arrange();
  });
  let typed = 0;
  byId("search").addEventListener("input", (event) => {
    clearTimeout(typed);
    typed = setTimeout(() => {
      state.words = plain(event.target.value).split(/\s+/).filter(Boolean);
      arrange();
    }, PAUSE);
  });

  // A link to a fact.
  async function follow() {
    const wanted = new URLSearchParams(location.hash.slice(1));
    if (!wanted.has("fact")) return;
    await ready;
    const set = wanted.get("set") ?? state.set;
    if (set !== state.set && page.sets.some((one) => one.name === set)) {
      byId("set").value = state.set = set;
      await load();
    }
    const fact = facts.id.indexOf(wanted.get("fact"));
    if (fact < 0) {
      tell("The fact of this link is not in this evidence.");
      return;
    }
    const attack = page.attacks.findIndex((one) => one.label === wanted.get("attack"));
    const row = state.rows.indexOf(fact);
    if (row >= 0) moveTo(row + 1, Math.max(0, 2 + state.columns.findIndex((one) => one.attack === attack)));
    await open(fact, attack < 0 ? Math.max(worst[fact], 0) : attack);
  }
  byId("tools").hidden = false;
  const ready = load();
  ready.then(follow).catch(failed);
  addEventListener("hashchange", () => follow().catch(failed));
})();
