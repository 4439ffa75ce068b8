"use strict";
// Search and sorting for the tables marked data-search. It only adds: without it every row is on
// the page. Text is compared, and written, as text alone.
(() => {
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const make = (name, properties) => Object.assign(document.createElement(name), properties);

  function search(rows, noun, tell) {
    const texts = new Map(rows.map((row) => [row, plain(row.textContent)]));
    const field = make("input", { type: "search", autocomplete: "off", spellcheck: false });
    field.addEventListener("input", () => {
      const words = plain(field.value).split(/\s+/).filter(Boolean);
      let hits = 0;
      for (const row of rows) {
        row.hidden = !words.every((word) => texts.get(row).includes(word));
        hits += row.hidden ? 0 : 1;
      }
      tell({ found: `${hits} of ${rows.length} ${noun} shown` });
    });
    const label = make("label", { textContent: `Search the ${noun} ` });
    label.append(field);
    return label;
  }

  // What is missing goes last, whichever way the others are sorted.
  function compare(a, b, downwards) {
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    const difference = typeof a === "number" ? a - b : order.compare(a, b);
    return downwards ? -difference : difference;
  }

  function sort(table, rows, head, tell) {
    const numbers = head.dataset.sort === "number";
    const name = head.textContent.trim();
    const button = make("button", { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    const key = (row) => {
      const cell = row.cells[head.cellIndex];
      return numbers ? Number.parseFloat(cell.dataset.value) : cell.textContent.trim();
    };
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const downwards = before === null ? numbers : before === "ascending";
      for (const other of table.tHead.querySelectorAll("[aria-sort]")) {
        other.removeAttribute("aria-sort");
      }
      head.setAttribute("aria-sort", downwards ? "descending" : "ascending");
      const keys = new Map(rows.map((row) => [row, key(row)]));
      rows.sort((a, b) => compare(keys.get(a), keys.get(b), downwards));
      table.tBodies[0].append(...rows);
      tell({ sorted: `sorted by ${name}, ${downwards ? "descending" : "ascending"}` });
    });
  }

  for (const table of document.querySelectorAll("table[data-search]")) {
    const rows = [...table.tBodies[0].rows];
    const tools = make("div", { className: "tools" });
    const status = make("p", { className: "found", role: "status" });
    status.setAttribute("aria-live", "polite");
    const told = { found: `${rows.length} ${table.dataset.search}`, sorted: "" };
    const tell = (news) => {
      Object.assign(told, news);
      status.textContent = [told.found, told.sorted].filter(Boolean).join("; ");
    };
    tools.append(search(rows, table.dataset.search, tell), status);
    for (const head of table.tHead.querySelectorAll("th[data-sort]")) {
      sort(table, rows, head, tell);
    }
    table.classList.add("sortable");
    (table.closest(".scroller") ?? table).before(tools);
  }
})();
