"use strict";
// Puts the parts together: filters, address, keys, theme.

const FIELDS = ["person", "camera", "challenge", "result", "low", "high", "sort"];
const THEMES = { "": "light", light: "dark", dark: "" };

function openQuery(query, entry = true) {
  state.query = query === null ? "" : String(query.order + 1);
  writeAddress(entry);
  showDetail(query);
}

function showSelected() {
  showQueries(selected(state), openQuery);
}

/** Fields, list, theme and open query as the address has them. */
function followAddress() {
  readAddress();
  for (const name of FIELDS) {
    find(`#${name}`).value = state[name];
    if (find(`#${name}`).value !== state[name]) find(`#${name}`).value = state[name] = DEFAULTS[name];
  }
  showTheme();
  showSelected();
  showDetail(QUERIES[Number(state.query) - 1] ?? null);
}

function change(values) {
  Object.assign(state, values);
  for (const name of FIELDS) if (find(`#${name}`).value !== state[name]) find(`#${name}`).value = state[name];
  writeAddress();
  showSelected();
}

function showTheme() {
  if (!Object.hasOwn(THEMES, state.theme)) state.theme = "";
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  find("#theme").setAttribute("aria-label", `Theme: ${state.theme || "as the system's"}`);
  find("#theme span").textContent = { "": "Auto", light: "Light", dark: "Dark" }[state.theme];
}

function nextTheme() {
  state.theme = THEMES[state.theme];
  writeAddress();
  showTheme();
}

function goTo(section) {
  section.scrollIntoView();
  section.focus({ preventScroll: true });
}

function fillChoices(field, names) {
  const sorted = [...names].sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
  field.append(element("option", { value: "" }, "any"), ...sorted.map((name) => element("option", { value: name }, name)));
}

const KEYS = {
  j: () => focusRow(document.activeElement.closest?.(".row") ? gallery.current + 1 : gallery.current),
  k: () => focusRow(gallery.current - 1),
  p: () => setPlaying(!playing),
  t: nextTheme,
  "/": () => { find("#queries").scrollIntoView(); find("#person").focus({ preventScroll: true }); },
};

const DETAIL_KEYS = {
  j: () => step(1),
  k: () => step(-1),
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  p: KEYS.p,
  t: KEYS.t,
};

function step(steps) {
  const query = neighbour(steps);
  if (query) openQuery(query, false);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  const act = (detail.dialog.open ? DETAIL_KEYS : KEYS)[event.key];
  if (!act) return;
  event.preventDefault();
  act();
}

function start() {
  drawFigures((challenge) => {
    change({ ...DEFAULTS, theme: state.theme, challenge });
    goTo(find("#queries"));
  });
  fillChoices(find("#camera"), new Set(QUERIES.map((query) => query.tracklet.camera)));
  fillChoices(find("#challenge"), CONTENT.challenges);
  find("#challenge-label").hidden = CONTENT.challenges.length === 0;
  startLoops();
  startGallery();
  followAddress();

  for (const name of FIELDS) find(`#${name}`).addEventListener("input", (event) => change({ [name]: event.target.value }));
  find("form").addEventListener("submit", (event) => event.preventDefault());
  const reset = () => change({ ...DEFAULTS, theme: state.theme });
  for (const button of [find("#reset"), find("#nothing button")]) button.addEventListener("click", reset);
  find("#theme").addEventListener("click", nextTheme);
  for (const link of document.querySelectorAll("a[href^='#']"))
    link.addEventListener("click", (event) => { event.preventDefault(); goTo(find(link.getAttribute("href"))); });
  find("#before").addEventListener("click", () => step(-1));
  find("#after").addEventListener("click", () => step(1));
  find("#close").addEventListener("click", () => openQuery(null));
  detail.dialog.addEventListener("click", (event) => { if (event.target === detail.dialog) openQuery(null); });
  detail.dialog.addEventListener("close", () => {
    if (state.query) openQuery(null);
    afterClosing();
  });
  addEventListener("keydown", onKey);
  addEventListener("popstate", followAddress);
  addEventListener("hashchange", followAddress);
}

start();
