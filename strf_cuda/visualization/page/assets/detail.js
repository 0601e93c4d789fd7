"use strict";
// One query, large: its answers, and where its other matches stand.

const RANKS_SHOWN = 40;
const detail = { dialog: find("#detail"), query: null };

/** Opens a query of the list, or closes with null. */
function showDetail(query) {
  if (query === null) {
    if (detail.dialog.open) detail.dialog.close();
    return;
  }
  detail.query = query;
  const place = gallery.queries.indexOf(query);
  find("#detail .place").textContent = place < 0
    ? `query ${whole(query.order + 1)}, not among those chosen`
    : `${whole(place + 1)} of ${whole(gallery.queries.length)}`;
  find("#detail-title").textContent = `Query ${whole(query.order + 1)}: person ${query.tracklet.person}`;
  find("#before").disabled = place <= 0;
  find("#after").disabled = place < 0 || place + 1 >= gallery.queries.length;
  find("#detail .body").replaceChildren(queryPart(query), answersPart(query));
  if (!detail.dialog.open) detail.dialog.showModal();
  detail.dialog.scrollTop = 0;
  find("#detail-title").focus();
}

function queryPart(query) {
  return element("div", { class: "query" },
    loopOf(query.tracklet, `query: ${describe(query.tracklet)}`),
    element("div", { class: "about" },
      whereOf(query), scoresOf(query),
      element("p", { class: "matches" }, matchesOf(query)),
      element("p", { class: "path" }, query.tracklet.path)));
}

function answersPart(query) {
  const nearest = query.answers.length === 1 ? "The nearest tracklet" : `The ${query.answers.length} nearest tracklets`;
  return element("div", {},
    element("h3", {}, query.deep ? `${nearest}, and the first match` : nearest),
    element("ol", { class: "answers" }, cardsOf(query)));
}

function matchesOf({ ranks }) {
  if (!ranks.length) return "Nobody else has seen this person: no other camera's tracklet is in the gallery.";
  const shown = ranks.slice(0, RANKS_SHOWN).map(whole).join(", ");
  const more = ranks.length > RANKS_SHOWN ? ` and ${whole(ranks.length - RANKS_SHOWN)} more` : "";
  return `${counted(ranks.length, "match, at rank", "matches, at ranks")} ${shown}${more}.`;
}

/** After Escape as after the button: focus goes to the row of the query that was open last. */
function afterClosing() {
  const place = gallery.queries.indexOf(detail.query);
  detail.query = null;
  if (place >= 0) focusRow(place);
}

/** The query that many places further down the list, or null. */
function neighbour(steps) {
  const place = gallery.queries.indexOf(detail.query);
  return place < 0 ? null : gallery.queries[place + steps] ?? null;
}
