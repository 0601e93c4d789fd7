"use strict";
// Which queries are shown, in which order, and which one is open: kept in the address, so that it can be shared.

const DEFAULTS = {
  person: "", camera: "", challenge: "", result: "", low: "", high: "", sort: "order", query: "", theme: "",
};

const state = { ...DEFAULTS };

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(DEFAULTS)) state[name] = given.get(name) ?? DEFAULTS[name];
  for (const name of ["low", "high"]) if (limit(state[name]) === null) state[name] = DEFAULTS[name];
}

/** Puts the state into the address; `entry` makes an entry in the browser's history, so that Back leads here again. */
function writeAddress(entry = false) {
  const differing = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
  const address = `#${new URLSearchParams(differing)}`;
  if (address !== (location.hash || "#")) history[entry ? "pushState" : "replaceState"](null, "", address);
}

const RESULTS = {
  "": () => true,
  right: (query) => query.first === 1,
  wrong: (query) => query.first !== null && query.first > 1,
  unmatched: (query) => query.first === null,
};

/** Values to sort by, lowest first; null comes last. */
const ORDERS = {
  order: (query) => query.order,
  worst: (query) => query.precision,
  best: (query) => (query.precision === null ? null : -query.precision),
  late: (query) => (query.first === null ? null : -query.first),
  near: (query) => query.answers[0]?.distance ?? null,
};

/** A limit in percent, or null for what a number field would not take. */
function limit(text) {
  return /^-?(\d+(\.\d+)?|\.\d+)(e[-+]?\d+)?$/i.test(text) && Number.isFinite(Number(text)) ? Number(text) : null;
}

/** The queries that a state asks for, in its order. */
function selected({ person, camera, challenge, result, low, high, sort }) {
  const wanted = person.trim().toLowerCase();
  const [least, most] = [limit(low), limit(high)];
  const passes = RESULTS[result] ?? RESULTS[""];
  const found = QUERIES.filter(
    (query) =>
      query.tracklet.person.toLowerCase().includes(wanted) &&
      (camera === "" || query.tracklet.camera === camera) &&
      (challenge === "" || query.challenge === challenge) &&
      passes(query) &&
      (least === null || (query.precision !== null && query.precision >= least)) &&
      (most === null || (query.precision !== null && query.precision <= most)),
  );
  const value = ORDERS[sort] ?? ORDERS.order;
  return found.sort((one, other) => (value(one) ?? Infinity) - (value(other) ?? Infinity) || one.order - other.order);
}
