"use strict";
/* Elements from values. Text goes in as text only, so that nothing from the evidence becomes markup. */

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, content) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, item] of Object.entries(value)) node.style.setProperty(key, item);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const item of content.flat()) if (item !== null && item !== undefined && item !== false) node.append(item);
  return node;
}

const el = (name, attributes, ...content) => fill(document.createElement(name), attributes, content);
const svg = (name, attributes, ...content) => fill(document.createElementNS(SVG, name), attributes, content);

/* A moment in seconds, with as many digits as the width of a window in ms makes sense of. */
function seconds(ms, width = 0) {
  const digits = width && width > 20000 ? 1 : width > 2000 ? 2 : width > 200 ? 3 : width > 20 ? 4 : width ? 5 : 3;
  return (ms / 1000).toFixed(digits) + " s";
}

/* How long something lasted, in the unit that reads best. */
function lasting(ms) {
  if (ms >= 1000) return (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + " s";
  return (ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(1) : ms.toFixed(3)) + " ms";
}

const count = (n) => n.toLocaleString("en");
const many = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
const group = (kind) => kind.split(".")[0];

/* The least index at which `after` holds of a list in order. */
function firstAt(list, after) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (after(list[middle])) high = middle; else low = middle + 1;
  }
  return low;
}
