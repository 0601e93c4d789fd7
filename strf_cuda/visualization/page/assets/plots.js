"use strict";
// Line charts and histograms: drawn at the width they have, read by pointer, by arrow keys, or from a table.

const MARGIN = { top: 26, right: 14, bottom: 40, left: 40 };
const PLOT_HEIGHT = 250;

/** Ticks at 1, 2 or 5 times a power of ten that cover the range. */
function ticksOf(low, high, most) {
  const rough = (high - low || 1) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9); tick * step <= high + step * 1e-9; tick += 1) ticks.push(tick * step);
  return { ticks, step, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}

/**
 * A figure with a chart, its legend and its values as a table.
 *
 * series: {name, values, colour 1..6, dash 1..4}; values run along x, null where there is none.
 * marker: {x, label}, a line upright; from: where x begins, or null for the first; high: where y ends, or null for the
 * largest value; filled: areas, not lines.
 */
function chart({ title, note = "", x, xLabel, yLabel, series, marker = null, from = null, high = null, filled: areas = false, digits = 1, xDigits = 0 }) {
  const plot = element("div", { class: "plot", tabindex: 0, role: "group", "aria-roledescription": "chart", "aria-label": `${title}; the table below has the values` });
  const tip = element("div", { class: "tip", hidden: true, role: "status" });
  const shown = (value) => number(value, digits);
  let place = null; // of the crosshair
  let scale = null;

  function draw() {
    const width = plot.clientWidth;
    if (!width) return;
    const largest = Math.max(...series.flatMap((line) => line.values.filter((value) => value !== null)), 0);
    const vertical = ticksOf(0, high ?? (largest || 1), 5);
    const top = high ?? Math.ceil((largest || 1) / vertical.step - 1e-9) * vertical.step;
    const [first, last] = [from ?? x[0], x[x.length - 1]];
    const horizontal = ticksOf(first, last, Math.max(2, Math.floor(width / 70)));
    scale = {
      x: (value) => MARGIN.left + ((value - first) / (last - first || 1)) * (width - MARGIN.left - MARGIN.right),
      y: (value) => MARGIN.top + (1 - value / top) * (PLOT_HEIGHT - MARGIN.top - MARGIN.bottom),
    };
    const bottom = scale.y(0);
    const svg = drawing("svg", { height: PLOT_HEIGHT, "aria-hidden": "true" });
    for (const tick of ticksOf(0, top, 5).ticks) {
      const y = scale.y(tick);
      svg.append(
        drawing("line", { class: tick ? "grid" : "axis", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
        drawing("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, number(tick, vertical.digits)),
      );
    }
    for (const tick of horizontal.ticks)
      svg.append(drawing("text", { x: scale.x(tick), y: bottom + 18, "text-anchor": "middle" }, number(tick, horizontal.digits)));
    svg.append(
      drawing("text", { x: width - MARGIN.right, y: PLOT_HEIGHT - 4, "text-anchor": "end" }, xLabel),
      drawing("text", { x: MARGIN.left - 8, y: 10, "text-anchor": "end" }, yLabel),
    );
    if (marker) {
      const at = scale.x(marker.x);
      const late = at > width * 0.6;
      svg.append(
        drawing("line", { class: "marker", x1: at, x2: at, y1: 16, y2: bottom }),
        drawing("text", { x: at, y: 10, "text-anchor": late ? "end" : "start" }, marker.label),
      );
    }
    for (const line of series) svg.append(...curve(line, bottom));
    plot.replaceChildren(svg, drawing("svg", { hidden: true }), tip);
    if (place !== null) point(place);
  }

  function curve({ values, colour, dash = 1 }, bottom) {
    const points = values.map((value, index) => (value === null ? null : [scale.x(x[index]), scale.y(value)])).filter(Boolean);
    const path = points.map(([across, up], index) => `${index ? "L" : "M"}${across.toFixed(1)} ${up.toFixed(1)}`).join("");
    const parts = [drawing("path", { class: `curve s${colour} d${dash}`, d: path })];
    if (areas && points.length)
      parts.unshift(drawing("path", { class: `area s${colour}`, d: `${path}L${points[points.length - 1][0]} ${bottom}L${points[0][0]} ${bottom}Z` }));
    if (!areas && points.length <= 30)
      parts.push(...points.map(([across, up]) => drawing("circle", { class: `s${colour}`, cx: across, cy: up, r: 2.2 })));
    return parts;
  }

  function point(index) {
    place = Math.min(Math.max(index, 0), x.length - 1);
    const at = scale.x(x[place]);
    plot.children[1].replaceWith(
      drawing("svg", { class: "over", height: PLOT_HEIGHT, "aria-hidden": "true" },
        drawing("line", { class: "cross", x1: at, x2: at, y1: MARGIN.top, y2: PLOT_HEIGHT - MARGIN.bottom })),
    );
    Object.assign(plot.children[1].style, { position: "absolute", inset: "0", width: "100%", pointerEvents: "none" });
    tip.hidden = false;
    tip.replaceChildren(
      element("b", {}, `${xLabel} ${number(x[place], xDigits)}`),
      ...series.map((line) => element("div", {}, `${line.name}: ${shown(line.values[place])}`)),
    );
    const left = at + 12 + tip.offsetWidth > plot.clientWidth ? at - 12 - tip.offsetWidth : at + 12;
    tip.style.left = `${Math.max(0, left)}px`;
  }

  function leave() {
    place = null;
    tip.hidden = true;
    plot.children[1]?.replaceChildren();
  }

  plot.addEventListener("pointermove", (event) => {
    const at = event.clientX - plot.getBoundingClientRect().left;
    const distances = x.map((value) => Math.abs(scale.x(value) - at));
    point(distances.indexOf(Math.min(...distances)));
  });
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("blur", leave);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    point(place === null ? (step > 0 ? 0 : x.length - 1) : place + step);
  });
  new ResizeObserver(draw).observe(plot);

  const head = element("tr", {}, [xLabel, ...series.map((line) => line.name)].map((name) => element("th", { scope: "col" }, name)));
  const rows = x.map((value, index) =>
    element("tr", {}, element("th", { scope: "row" }, number(value, xDigits)),
      series.map((line) => element("td", {}, shown(line.values[index])))));
  return element("figure", { class: "panel" },
    element("figcaption", {}, element("h3", {}, title), element("span", {}, note)),
    plot,
    element("ul", { class: "legend" }, series.map((line) =>
      element("li", {},
        drawing("svg", { viewBox: "0 0 20 8", "aria-hidden": "true" }, drawing("path", { class: `s${line.colour} d${line.dash ?? 1}`, d: "M1 4H19" })),
        line.name))),
    element("details", {}, element("summary", {}, "Values as a table"),
      element("div", { tabindex: 0, role: "region", "aria-label": `Values: ${title}` },
        element("table", {}, element("thead", {}, head), element("tbody", {}, rows)))));
}
