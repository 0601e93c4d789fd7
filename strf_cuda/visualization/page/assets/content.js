"use strict";
// What Python wrote into the page, with names in the place of numbers.

const CONTENT = JSON.parse(find("#content").textContent);

const TRACKLETS = CONTENT.tracklets.map(([person, camera, frames, path], number) => ({
  number,
  person: CONTENT.persons[person],
  camera: CONTENT.cameras[camera],
  frames,
  path,
  identity: person, // two people may have the same name
}));

/** One answer: a tracklet, its distance, its rank, and whether it is the query's person. */
function answerOf(query, number, distance, rank) {
  const tracklet = TRACKLETS[number];
  return { tracklet, distance, rank, right: tracklet.identity === query.identity };
}

const QUERIES = CONTENT.queries.map(([number, precision, ranks, answers, distances, first, challenge], order) => {
  const tracklet = TRACKLETS[number];
  return {
    order,
    tracklet,
    precision: precision === null ? null : 100 * precision,
    ranks, // of all its matches
    first: ranks.length ? ranks[0] : null,
    challenge: challenge === null ? null : CONTENT.challenges[challenge],
    answers: answers.map((answer, place) => answerOf(tracklet, answer, distances[place], place + 1)),
    deep: first === null ? null : answerOf(tracklet, first[0], first[1], ranks[0]),
  };
});

function describe(tracklet) {
  return `person ${tracklet.person}, camera ${tracklet.camera}`;
}
