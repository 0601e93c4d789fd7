"use strict";
// Elements and numbers. Text from the data goes in as text alone, never as markup.

/** An HTML element. Properties are attributes, functions among them listeners; null and false leave one out. */
function element(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** The same for SVG. */
function drawing(name, properties = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

function icon(name) {
  return drawing("svg", { "aria-hidden": "true", viewBox: "0 0 16 16" }, drawing("use", { href: `#icon-${name}` }));
}

function find(selector) {
  return document.querySelector(selector);
}

const ABSENT = "–";

function number(value, digits = 1) {
  return value === null || value === undefined ? ABSENT : value.toFixed(digits);
}

function whole(value) {
  return value.toLocaleString("en-GB");
}

/** "1 query", "12 queries". */
function counted(count, one, many) {
  return `${whole(count)} ${count === 1 ? one : many}`;
}
