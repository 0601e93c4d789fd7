"use strict";
// The queries, one row each. Only rows in view, and the one that has the focus, are in the document.

const SPARE_ROWS = 2;
const gallery = { queries: [], rows: new Map(), current: 0, height: 0 };

/** Shows these queries from the top; `open(query)` is called for the one that is chosen. */
function showQueries(queries, open) {
  Object.assign(gallery, { queries, open, current: 0 });
  for (const row of gallery.rows.values()) row.remove();
  gallery.rows.clear();
  const matched = queries.filter((query) => query.precision !== null);
  const mean = matched.reduce((sum, query) => sum + query.precision, 0) / matched.length;
  find("#count").textContent =
    `${whole(queries.length)} of ${counted(QUERIES.length, "query", "queries")}` + (matched.length ? `, mAP ${number(mean)} %` : "");
  find("#nothing").hidden = queries.length > 0;
  layOut();
}

/** Measures a row and draws what is in view; after a change of width too. */
function layOut() {
  const probe = element("li", { class: "probe" });
  find("#rows").append(probe);
  gallery.height = probe.offsetHeight;
  probe.remove();
  find("#rows").style.height = `${gallery.queries.length * gallery.height}px`;
  for (const [index, row] of gallery.rows) row.style.top = `${index * gallery.height}px`;
  drawRows();
}

function drawRows() {
  const top = -find("#rows").getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / gallery.height) - SPARE_ROWS);
  const last = Math.min(gallery.queries.length - 1, Math.ceil((top + innerHeight) / gallery.height) + SPARE_ROWS);
  const wanted = new Set(gallery.queries.length ? [gallery.current] : []);
  for (let index = first; index <= last; index += 1) wanted.add(index);
  for (const [index, row] of gallery.rows) {
    if (wanted.has(index)) continue;
    row.remove();
    gallery.rows.delete(index);
  }
  for (const index of [...wanted].sort((one, other) => one - other)) {
    if (gallery.rows.has(index)) continue;
    const row = rowOf(gallery.queries[index], index);
    const next = [...gallery.rows.keys()].filter((other) => other > index).sort((one, other) => one - other)[0];
    find("#rows").insertBefore(row, gallery.rows.get(next) ?? null);
    gallery.rows.set(index, row);
  }
}

function rowOf(query, index) {
  const title = element("button", {
    type: "button", class: "open", tabindex: index === gallery.current ? 0 : -1, "aria-haspopup": "dialog",
    "aria-label": `Open query ${query.order + 1}: ${describe(query.tracklet)}`, title: query.tracklet.person,
    focus: () => setCurrent(index),
  }, query.tracklet.person);
  const row = element("li", { class: "row", "aria-posinset": index + 1, "aria-setsize": gallery.queries.length, "data-query": query.order },
    element("div", { click: () => { setCurrent(index); gallery.open(query); } },
      element("div", { class: "query" },
        loopOf(query.tracklet, `query: ${describe(query.tracklet)}`),
        element("div", { class: "about" }, title, whereOf(query), scoresOf(query))),
      element("ol", { class: "answers", "aria-label": "nearest tracklets" },
        cardsOf(query))));
  row.style.top = `${index * gallery.height}px`;
  return row;
}

function whereOf({ tracklet, challenge }) {
  const camera = element("p", { class: "where", title: `camera ${tracklet.camera}` }, `camera ${tracklet.camera} · ${counted(tracklet.frames, "frame", "frames")}`);
  return challenge === null ? [camera] : [camera, element("p", { class: "chip" }, challenge)];
}

function scoresOf(query) {
  const tone = query.first === null ? null : query.first === 1 ? "right" : "wrong";
  return element("dl", { class: "scores" },
    element("dt", {}, "average precision"), element("dd", {}, number(query.precision)),
    element("dt", {}, "first match"), element("dd", { class: tone }, query.first === null ? "none" : `rank ${whole(query.first)}`));
}

/** The nearest answers, and the first match where it lies beyond them. */
function cardsOf({ answers, deep }) {
  const cards = answers.map((answer) => answerCard(answer));
  return deep ? [...cards, answerCard(deep, deep.rank > answers.length + 1)] : cards;
}

/** A framed loop with its mark; `apart` from those before it. */
function answerCard({ tracklet, distance, rank, right }, apart = false) {
  const label = `rank ${rank}, ${right ? "right" : "wrong"}: ${describe(tracklet)}, distance ${number(distance, 3)}`;
  return element("li", { class: `answer ${right ? "right" : "wrong"}${apart ? " apart" : ""}`, title: label },
    loopOf(tracklet, label),
    element("span", { class: "rank", "aria-hidden": "true" }, whole(rank)),
    element("span", { class: "mark" }, icon(right ? "right-answer" : "wrong")),
    element("p", { class: "name", "aria-hidden": "true" }, tracklet.person),
    element("p", { "aria-hidden": "true" }, tracklet.camera),
    element("p", { "aria-hidden": "true" }, number(distance, 3)));
}

function setCurrent(index) {
  gallery.rows.get(gallery.current)?.querySelector(".open").setAttribute("tabindex", -1);
  gallery.current = index;
  gallery.rows.get(index)?.querySelector(".open").setAttribute("tabindex", 0);
}

/** Moves the focus to a query of the list, which is scrolled into view. */
function focusRow(index) {
  if (!gallery.queries.length) return;
  setCurrent(Math.min(Math.max(index, 0), gallery.queries.length - 1));
  const top = find("#rows").getBoundingClientRect().top + gallery.current * gallery.height;
  const head = find(".bar").offsetHeight + 8;
  if (top < head) scrollBy(0, top - head);
  else if (top + gallery.height > innerHeight) scrollBy(0, top + gallery.height - innerHeight);
  drawRows();
  gallery.rows.get(gallery.current).querySelector(".open").focus({ preventScroll: true });
}

function startGallery() {
  let asked = false;
  addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; drawRows(); });
  }, { passive: true });
  new ResizeObserver(layOut).observe(document.body);
  find("#rows").addEventListener("keydown", (event) => {
    const places = { ArrowDown: gallery.current + 1, ArrowUp: gallery.current - 1, Home: 0, End: gallery.queries.length - 1 };
    if (!(event.key in places) || event.target.closest(".answers")) return;
    event.preventDefault();
    focusRow(places[event.key]);
  });
}
