"use strict";
// Tracklets as short loops. Their strips are read from the page when they are shown, and forgotten afterwards.

const STRIPS_A_BLOCK = 4; // as in writing.py
const FRAME_TIME = 160; // milliseconds
const BLOCKS_KEPT = 200;
const blocks = new Map();
let waiting = []; // loops whose block the browser has not read yet

/** The address of a tracklet's strip, or null while the page is still loading. */
function stripOf(number) {
  const block = Math.floor(number / STRIPS_A_BLOCK);
  if (!blocks.has(block)) {
    const script = document.getElementById(`strips-${block}`);
    if (!script || (document.readyState === "loading" && !script.nextElementSibling)) return null;
    blocks.set(block, script.textContent.split("\n"));
    if (blocks.size > BLOCKS_KEPT) blocks.delete(blocks.keys().next().value);
  }
  return `url("data:image/webp;base64,${blocks.get(block)[number % STRIPS_A_BLOCK]}")`;
}

function loopOf(tracklet, label) {
  const loop = element("div", { class: "loop", role: "img", "aria-label": label, "data-tracklet": tracklet.number });
  if (!fill(loop)) waiting.push(loop);
  return loop;
}

function fill(loop) {
  const strip = stripOf(Number(loop.dataset.tracklet));
  if (strip !== null) loop.style.backgroundImage = strip;
  return strip !== null;
}

const filling = setInterval(() => {
  const done = document.readyState !== "loading";
  waiting = waiting.filter((loop) => loop.isConnected && !fill(loop));
  if (done) clearInterval(filling);
}, 100);

const still = matchMedia("(prefers-reduced-motion: reduce)");
let playing = !still.matches;
let phase = Math.floor(CONTENT.loop.frames / 2);

function showPhase() {
  for (const stage of document.querySelectorAll(".stage")) stage.style.setProperty("--phase", phase);
}

/** Lets loops run or stand; whoever asked for less motion sees them stand until told otherwise. */
function setPlaying(run) {
  playing = run;
  find("#play span").textContent = run ? "Pause" : "Play";
  find("#play use").setAttribute("href", run ? "#icon-pause" : "#icon-play");
  find("#play").setAttribute("aria-label", run ? "Pause the loops" : "Play the loops");
}

function startLoops() {
  const root = document.documentElement.style;
  root.setProperty("--ratio", CONTENT.loop.width / CONTENT.loop.height);
  root.setProperty("--frames", CONTENT.loop.frames);
  root.setProperty("--step", CONTENT.loop.frames > 1 ? `${100 / (CONTENT.loop.frames - 1)}%` : "0%");
  setPlaying(playing);
  showPhase();
  find("#play").addEventListener("click", () => setPlaying(!playing));
  still.addEventListener("change", () => setPlaying(!still.matches));
  setInterval(() => {
    if (!playing || document.hidden) return;
    phase = (phase + 1) % CONTENT.loop.frames;
    showPhase();
  }, FRAME_TIME);
}
