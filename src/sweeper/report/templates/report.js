"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // The figures carry data and axes; colours follow the page, so that light and dark share them.
  function themed(layout, narrow) {
    const ink = colour("--ink"), rule = colour("--rule"), quiet = colour("--quiet"), ground = colour("--ground");
    const font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: ink };
    const axis = (given) => given && {
      gridcolor: rule, linecolor: quiet, tickcolor: rule, zeroline: false, automargin: true, fixedrange: true, ...given,
      title: { ...(typeof given.title === "string" ? { text: given.title } : given.title), font: { size: 13, color: quiet } },
    };
    const made = { ...layout, font, colorway: undefined, hoverlabel: { bgcolor: ground, bordercolor: quiet, font: { color: ink } } };
    made.xaxis = { ...axis(layout.xaxis || {}), showgrid: false, ticks: "outside", showline: true };
    if (narrow && made.xaxis.ticktext) made.xaxis.tickangle = -45;  // else Plotly leaves out labels that touch
    made.yaxis = axis(layout.yaxis || {});
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

  function draw() {
    for (const place of document.querySelectorAll(".plot")) {
      const figure = figures[place.dataset.figure];
      Plotly.react(place, figure.data, themed(figure.layout, place.clientWidth < 480), { displayModeBar: false });
    }
  }
  new ResizeObserver(draw).observe(document.querySelector("main"));
  dark.addEventListener("change", draw);

  const key = (row, column) => {
    const cell = row.cells[column];
    const text = "sort" in cell.dataset ? cell.dataset.sort : cell.textContent.trim();
    return text === "" || Number.isNaN(Number(text)) ? text : Number(text);
  };
  function sort(table, column, down) {
    const body = table.tBodies[0], sign = down ? -1 : 1;
    const rows = [...body.rows].map((row) => [key(row, column), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return (a === "") - (b === "");  // what is missing stays last either way
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
    });
    body.append(...rows.map(([, row]) => row));
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sort(table, column, down);
    }));
  }

  const open = () => { const found = document.getElementById(location.hash.slice(1)); if (found instanceof HTMLDetailsElement) found.open = true; };
  window.addEventListener("hashchange", open);
  open();
  document.documentElement.dataset.ready = "true";
})();
