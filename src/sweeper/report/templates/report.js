"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures"), long = read("grids");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const readColor = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Figures hold data and axes; the page sets their colors, so that the light and the dark theme share them.
  function applyTheme(layout, narrow) {
    const ink = readColor("--ink"), rule = readColor("--rule"), quiet = readColor("--quiet"), ground = readColor("--ground");
    const font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink };
    const axis = (given) => given && {
      gridcolor: rule, linecolor: quiet, tickcolor: rule, zeroline: false, zerolinecolor: quiet, automargin: true, fixedrange: true, ...given,
      title: { ...(typeof given.title === "string" ? { text: given.title } : given.title), font: { size: 13, color: quiet } },
    };
    const made = { ...layout, font, colorway: undefined, hoverlabel: { bgcolor: ground, bordercolor: quiet, font: { color: ink } } };
    made.xaxis = { ...axis(layout.xaxis || {}), showgrid: false, ticks: "outside", showline: true };
    if (narrow && made.xaxis.ticktext) made.xaxis.tickangle = -45;  // Plotly omits labels that overlap
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
      const layout = applyTheme(figure.layout, (own || place.clientWidth) < 480);
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

  // Print on white, as wide as A4 between its margins.
  const closed = [...document.querySelectorAll("main details:not([open]):not([id^=failure])")];
  const printing = (now) => {
    document.documentElement.toggleAttribute("data-print", now);
    closed.forEach((place) => { place.open = now; });
    draw(now ? 640 : undefined);
  };
  addEventListener("beforeprint", () => printing(true));
  addEventListener("afterprint", () => printing(false));

  // Rows of a table: those in the page, or for a long table cells that become rows when they are shown.
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
    const find = tools?.querySelector("input"), menu = tools?.querySelector("select"), count = tools?.querySelector("output");
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
      count.textContent = `${part}${n(rows.length)}${rows.length < all.length ? ` matches in ${n(all.length)}` : ""} rows`;
      if (before) { before.disabled = page === 0; after.disabled = page >= pages - 1; }
    }
    function sort(items) {
      const column = heads.findIndex((head) => head.hasAttribute("aria-sort"));
      if (column < 0) return items;
      const sign = heads[column].getAttribute("aria-sort") === "descending" ? -1 : 1;
      return [...items].sort(({ keys: { [column]: a } }, { keys: { [column]: b } }) => {
        if (a === "" || b === "") return (a === "") - (b === "");  // missing values stay last in both directions
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
