"use strict";
// Everything above the gallery: headline figures, the table by challenge, curves, distances, and what the run was.

const COLUMNS = ["mAP", "rank-1", "rank-5", "rank-10", "rank-20", "mINP"];

/** Draws all of it; `choose(challenge)` shows the queries of a challenge. */
function drawFigures(choose) {
  find(".brand").textContent = find("h1").textContent = CONTENT.title;
  const [overall] = CONTENT.figures.rows;
  find(".lead").textContent = [
    counted(overall.queries, "query", "queries"),
    overall.queries - overall.matched ? `${whole(overall.queries - overall.matched)} of them without a match by another camera` : null,
    `ranked by ${CONTENT.distance}`,
    `the ${QUERIES.reduce((most, query) => Math.max(most, query.answers.length), 0)} nearest of each below`,
  ].filter(Boolean).join(", ") + ".";
  find(".notes").append(...CONTENT.notes.map((note) => element("li", {}, note)));
  drawTiles(overall);
  find("#table").append(figureTable(choose));
  drawCharts();
  drawTraining();
  drawFacts();
}

function drawTiles(overall) {
  const tiles = ["mAP", "rank-1", "rank-5", "rank-10", "mINP"].map((name) => [name, overall[name], "%"]);
  tiles.push(["equal-error rate", CONTENT.separation.equal_error, "%"]);
  find(".tiles").append(...tiles.map(([name, value, unit], index) =>
    element("div", { class: index ? null : "first" },
      element("dt", {}, name),
      element("dd", {}, number(value), value === null ? null : element("small", {}, ` ${unit}`)))));
}

function figureTable(choose) {
  const { rows, chance } = CONTENT.figures;
  const groups = rows.some((row) => row.group);
  const headings = ["queries", "", "with match", ...COLUMNS, ...(groups ? ["among look-alikes"] : [])].filter(Boolean);
  const body = rows.map((row, index) =>
    element("tr", { class: index ? null : "all" },
      element("th", { scope: "row" }, index ? element("button", { type: "button", title: `Show the queries of ${row.name}`, click: () => choose(row.name) }, row.name) : "all"),
      element("td", {}, whole(row.queries)),
      element("td", {}, whole(row.matched)),
      COLUMNS.map((name, column) => (column < 2 ? barCell(row[name]) : element("td", {}, number(row[name])))),
      groups ? element("td", {}, row.group ? number(row.group[0]) : "") : null));
  const chances = rows.filter((row) => row.group).map((row) => `${row.name} ${number(row.group[1])}`);
  const remarks = [
    `Percent. A random ranking has mAP ${number(chance)}.`,
    groups ? `Among look-alikes: rank-1 within the query's group over other cameras; by chance ${chances.join(", ")}.` : "",
  ];
  return element("div", {},
    element("table", {},
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "challenge"), headings.map((name) => element("th", { scope: "col" }, name)))),
      element("tbody", {}, body)),
    element("p", { class: "aside" }, remarks.join(" ").trim()));
}

function barCell(value) {
  const bar = element("b");
  bar.style.width = `${value ?? 0}%`;
  return element("td", { class: "figure" }, element("i", { "aria-hidden": "true" }, bar), element("span", {}, number(value)));
}

function drawCharts() {
  const curves = CONTENT.figures.rows.filter((row) => row.cmc[0] !== null);
  const charts = find("#figure-charts");
  if (curves.length)
    charts.append(chart({
      title: "Cumulative match",
      note: "queries with a match up to a rank",
      x: curves[0].cmc.map((_, index) => index + 1),
      xLabel: "rank",
      yLabel: "%",
      high: 100,
      series: curves.map((row, index) => ({ name: row.name, values: row.cmc, colour: (index % 6) + 1, dash: (index % 4) + 1 })),
    }));
  const { edges, same, different, overlap, threshold, equal_error: error } = CONTENT.separation;
  const shares = (counts) => {
    const total = counts.reduce((sum, count) => sum + count, 0);
    return counts.map((count) => (total ? (100 * count) / total : 0));
  };
  charts.append(chart({
    title: "Distances",
    note: overlap === null ? "" : `overlap ${number(overlap)}\u00a0%, equal error ${number(error)}\u00a0%`,
    x: same.map((_, index) => (edges[index] + edges[index + 1]) / 2),
    xLabel: CONTENT.distance,
    yLabel: "%",
    xDigits: 3,
    digits: 2,
    filled: true,
    marker: threshold === null ? null : { x: threshold, label: `equal error, ${number(threshold, 3)}` },
    series: [
      { name: "same person, share of pairs", values: shares(same), colour: 2 },
      { name: "different people, share of pairs", values: shares(different), colour: 3, dash: 2 },
    ],
  }));
}

function drawTraining() {
  const { training, evaluations, epoch, missing } = CONTENT.history;
  const charts = find("#training-charts");
  const along = (rows, names, scale = 1) =>
    names.map(([name, label], index) => ({
      name: label,
      values: rows.map((row) => (row[name] === null || row[name] === undefined ? null : scale * row[name])),
      colour: index + 1,
      dash: index + 1,
    }));
  const marker = epoch === null ? null : { x: epoch, label: "this checkpoint" };
  const common = (rows) => ({
    x: rows.map((row) => row.epoch),
    xLabel: "epoch",
    from: 0,
    marker: marker && rows.some((row) => row.epoch >= epoch) && rows[0].epoch <= epoch ? marker : null,
  });
  if (training.length) {
    charts.append(
      chart({ ...common(training), title: "Loss", note: "mean of the epoch", yLabel: "", digits: 3,
        series: along(training, [["loss", "sum"], ["cross_entropy", "cross-entropy"], ["triplet", "triplet"]]) }),
      chart({ ...common(training), title: "Accuracy on training clips", note: "mean of the epoch", yLabel: "%", high: 100,
        series: along(training, [["accuracy", "accuracy"]], 100) }));
  }
  if (evaluations.length)
    charts.append(chart({ ...common(evaluations), title: "Evaluations", note: "on queries and gallery", yLabel: "%", high: 100,
      series: along(evaluations, [["mAP", "mAP"], ["rank-1", "rank-1"], ["rank-5", "rank-5"]], 100) }));
  if (missing.length) charts.append(element("div", { class: "panel missing" }, missing.map((sentence) => element("p", {}, sentence))));
}

function drawFacts() {
  find(".facts").prepend(...CONTENT.facts.map(({ heading, rows }) =>
    element("div", { class: "panel" },
      element("h3", {}, heading),
      element("dl", {}, rows.map(([term, text]) => [element("dt", {}, term), element("dd", {}, text)])))));
  find("#run pre").textContent = CONTENT.configuration;
}
