"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures"), long = read("grids");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The figures carry data and axes; colours follow the page, so that light and dark share them.
  function themed(layout, narrow) {
    const ink = colour("--ink"), rule = colour("--rule"), quiet = colour("--quiet"), ground = colour("--ground");
    const font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink };
    const axis = (given) => given && {
      gridcolor: rule, linecolor: quiet, tickcolor: rule, zeroline: false, zerolinecolor: quiet, automargin: true, fixedrange: true, ...given,
      title: { ...(typeof given.title === "string" ? { text: given.title } : given.title), font: { size: 13, color: quiet } },
    };
    const made = { ...layout, font, colorway: undefined, hoverlabel: { bgcolor: ground, bordercolor: quiet, font: { color: ink } } };
    made.xaxis = { ...axis(layout.xaxis || {}), showgrid: false, ticks: "outside", showline: true };
    if (narrow && made.xaxis.ticktext) made.xaxis.tickangle = -45;  // else Plotly leaves out labels that touch
    made.yaxis = axis(layout.yaxis || {});
    if (narrow) made.legend = { ...made.legend, font: { size: 11 } };
    if (layout.polar) {
      delete made.xaxis; delete made.yaxis;
      made.polar = {
        bgcolor: "rgba(0,0,0,0)",
        radialaxis: { gridcolor: rule, linecolor: rule, ...layout.polar.radialaxis, tickfont: { size: 11, color: quiet } },
        angularaxis: { gridcolor: rule, linecolor: rule },
      };
    }
    return made;
  }

  const places = [...document.querySelectorAll(".plot")];
  function draw(width) {
    for (const place of places) {
      const figure = figures[place.dataset.figure];
      const own = width && (place.closest(".pair") ? width / 2 - 12 : width);
      const layout = themed(figure.layout, (own || place.clientWidth) < 480);
      if (own) layout.width = own;
      Plotly.react(place, figure.data, layout, { displayModeBar: false, responsive: false });
    }
  }
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width !== drawn && !("print" in document.documentElement.dataset)) { drawn = width; draw(); }
  }).observe(document.querySelector("main"));
  dark.addEventListener("change", () => draw());

  // Paper is white, and as wide as A4 between its margins, whatever the screen is.
  const closed = [...document.querySelectorAll("main details:not([open]):not([id^=failure])")];
  const printing = (now) => {
    document.documentElement.toggleAttribute("data-print", now);
    closed.forEach((place) => { place.open = now; });
    draw(now ? 640 : undefined);
  };
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));

  // A table's rows: those of the page, or, of a long one, cells from which rows are made as they are shown.
  const PAGE = 50, MISSING = "–";
  const number = (text) => (text === "" || text === null || Number.isNaN(Number(text)) ? text : Number(text));
  function existing(row) {
    const cells = [...row.cells];
    const key = (cell) => ("sort" in cell.dataset ? number(cell.dataset.sort) : number(cell.textContent.trim()));
    return { row: () => row, keys: cells.map(key), texts: cells.map((cell) => cell.textContent.trim()) };
  }
  function compact(cells, kinds) {
    const parts = cells.map((cell) => (Array.isArray(cell) ? cell : [cell]));
    const keys = parts.map(([text, sort], column) => (sort ?? (kinds[column] !== "n" ? text : text === MISSING ? "" : number(text.replaceAll(",", "")))));
    const row = () => {
      const made = document.createElement("tr");
      parts.forEach(([text, , kind, href], column) => {
        const cell = made.insertCell();
        cell.className = kinds[column];
        const place = kind || href ? cell.appendChild(document.createElement(href ? "a" : "span")) : cell;
        if (kind) place.className = kind;
        if (href) place.setAttribute("href", href);
        place.textContent = text;
      });
      return made;
    };
    return { row, keys, texts: parts.map(([text]) => text) };
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0], name = table.id;
    const all = name in long ? long[name].rows.map((cells) => compact(cells, long[name].kinds)) : [...body.rows].map(existing);
    const tools = document.querySelector(`.tools[data-for="${name}"]`);
    const find = tools?.querySelector("input"), menu = tools?.querySelector("select"), said = tools?.querySelector("output");
    const [before, after] = tools ? tools.querySelectorAll("button") : [];
    let rows = all, page = 0;
    const heads = [...table.tHead.rows[0].cells];

    function show() {
      const pages = Math.max(1, Math.ceil(rows.length / PAGE)), paged = name in long;
      page = Math.min(page, pages - 1);
      const shown = paged ? rows.slice(page * PAGE, (page + 1) * PAGE) : rows;
      body.replaceChildren(...shown.map((item) => item.row()));
      if (!tools) return;
      const n = (value) => value.toLocaleString("en");
      const part = paged && rows.length ? `${n(page * PAGE + 1)} to ${n(page * PAGE + shown.length)} of ` : "";
      said.textContent = `${part}${n(rows.length)}${rows.length < all.length ? ` found in ${n(all.length)}` : ""} rows`;
      if (before) { before.disabled = page === 0; after.disabled = page >= pages - 1; }
    }
    function sort(items) {
      const column = heads.findIndex((head) => head.hasAttribute("aria-sort"));
      if (column < 0) return items;
      const sign = heads[column].getAttribute("aria-sort") === "descending" ? -1 : 1;
      return [...items].sort(({ keys: { [column]: a } }, { keys: { [column]: b } }) => {
        if (a === "" || b === "") return (a === "") - (b === "");  // what is missing stays last either way
        return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
      });
    }
    function update() {
      const words = (find?.value || "").toLowerCase().split(/\s+/).filter(Boolean), status = menu?.value || "";
      const column = menu ? Number(menu.dataset.column) : 0;
      rows = sort(all.filter(({ texts }) => {
        const text = texts.join(" ").toLowerCase();
        return (!status || texts[column] === status) && words.every((word) => text.includes(word));
      }));
      page = 0;
      show();
    }
    heads.forEach((head) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      update();
    }));
    if (tools) {
      tools.hidden = false;
      find.addEventListener("input", update);
      menu?.addEventListener("change", update);
      before?.addEventListener("click", () => { page -= 1; show(); });
      after?.addEventListener("click", () => { page += 1; show(); });
      show();
    }
  }

  const open = () => { const found = document.getElementById(location.hash.slice(1)); if (found instanceof HTMLDetailsElement) found.open = true; };
  window.addEventListener("hashchange", open);
  open();
  document.documentElement.dataset.ready = "true";
})();
