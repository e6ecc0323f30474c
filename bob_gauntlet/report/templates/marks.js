"use strict";
/* The building blocks of the figures: the page's data, SVG elements, axes, and a mark for each backbone. */

const DATA = JSON.parse(document.getElementById("figure-data")?.textContent ?? "null");
const STYLES = ["supervised", "self-supervised", "vision-language", "none"];
const FAMILY_COLOURS = 6;
const LARGEST_RADIUS = 15;

/* numbers and names */

const formatSigned = (value) => `${value >= 0 ? "+" : ""}${value.toFixed(2)}`.replace("-", "−");
const formatNumber = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 }).replace("-", "−");
const truncate = (words, length) => (words.length > length ? `${words.slice(0, length - 1)}…` : words);
const backboneOf = (point) => DATA.backbones[point.backbone];

/* SVG elements; names are set as text, never as markup */

function addElement(tag, attributes = {}, parent = null) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  parent?.append(element);
  return element;
}

function addText(root, words, x, y, { anchor = "start", className = "" } = {}) {
  const element = addElement("text", { x, y, "text-anchor": anchor, class: className }, root);
  element.textContent = words;
  return element;
}

const addLine = (root, className, x1, y1, x2, y2) => addElement("line", { class: className, x1, y1, x2, y2 }, root);

function startFigure(box, width, height, label) {
  const attributes = { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": label };
  const root = addElement("svg", attributes);
  box.replaceChildren(root);
  return root;
}

/* axes: the position of a value between two ends, and the ticks */

function makeAxis(values, start, end, { log = false, margin = 0.07 } = {}) {
  const transform = log ? Math.log10 : (value) => value;
  let [low, high] = [Math.min(...values.map(transform)), Math.max(...values.map(transform))];
  const padding = (high - low || 1) * margin;
  [low, high] = [low - padding, high + padding];
  const position = (value) => start + ((transform(value) - low) / (high - low)) * (end - start);
  const ticks = log ? logTicks(low, high) : linearTicks(low, high, Math.max(4, Math.abs(end - start) / 70));
  return { position, low, high, ticks };
}

function linearTicks(low, high, count) {
  const smallestStep = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(smallestStep));
  const step = power * [1, 2, 5, 10].find((multiple) => multiple * power >= smallestStep);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) ticks.push(Number((k * step).toPrecision(10)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    const candidates = [1, 2, 5].map((multiple) => multiple * 10 ** power);
    ticks.push(...candidates.filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high));
  }
  return ticks.length >= 3 ? ticks : linearTicks(10 ** low, 10 ** high, 6);
}

/* marks: the shape shows the family, the colour the style or the family, the area the number of parameters */

const polygon = (...points) => `M${points.map((point) => point.map((v) => v.toFixed(2)).join(",")).join("L")}Z`;

function cross(arm) {
  const half = 3 * arm;
  return polygon([-arm, -half], [arm, -half], [arm, -arm], [half, -arm], [half, arm], [arm, arm], [arm, half],
    [-arm, half], [-arm, arm], [-half, arm], [-half, -arm], [-arm, -arm]);
}

function pentagon(radius) {
  const corners = [0, 1, 2, 3, 4].map((k) => (k * 2 * Math.PI) / 5);
  return polygon(...corners.map((angle) => [radius * Math.sin(angle), -radius * Math.cos(angle)]));
}

/* shapes have about the same area for the same r */
const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  (r) => ((s) => polygon([-s, -s], [s, -s], [s, s], [-s, s]))(0.886 * r),
  (r) => ((s) => polygon([0, -s], [0.866 * s, s / 2], [-0.866 * s, s / 2]))(1.555 * r),
  (r) => ((s) => polygon([0, -s], [s, 0], [0, s], [-s, 0]))(1.253 * r),
  (r) => cross(0.396 * r),
  (r) => ((s) => polygon([0, s], [0.866 * s, -s / 2], [-0.866 * s, -s / 2]))(1.555 * r),
  (r) => pentagon(1.15 * r),
];

const shapeOfFamily = (family) => SHAPES[DATA.families.indexOf(family) % SHAPES.length];
const colourOfFamily = (family) => `f${DATA.families.indexOf(family) % FAMILY_COLOURS}`;

function colourOfStyle(style) {
  const index = STYLES.indexOf(style);
  return `s${index >= 0 ? index : style ? 4 : 5}`;
}

/* the colour shows the style of pretraining if the pool has several styles, otherwise the family */
const colourOfBackbone = ({ style, family }) =>
  (DATA.styles.length > 1 ? colourOfStyle(style) : colourOfFamily(family));

function radiusOf(backbone) {
  const largest = Math.max(...DATA.backbones.map(({ params }) => params ?? 0)) || 1;
  return backbone.params === null ? 5 : Math.max(4, LARGEST_RADIUS * Math.sqrt(backbone.params / largest));
}

function describeBackbone(backbone) {
  const data = backbone.data === "none" ? "" : backbone.data;
  const pretraining = [backbone.method, data].filter(Boolean).join(" on ");
  const size = backbone.params === null ? "" : `${formatNumber(backbone.params)} M parameters`;
  return [pretraining, [backbone.family, size].filter(Boolean).join(", ")].filter(Boolean);
}

function addMark(root, point, x, y, radius, colour, tipLines) {
  const backbone = backboneOf(point);
  return addElement("path", {
    class: `mark ${colour}${backbone.own ? " own" : ""}`,
    d: shapeOfFamily(backbone.family)(radius),
    transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
    "data-backbone": point.backbone,
    "data-tip": [backbone.title, ...tipLines, ...describeBackbone(backbone)].join("\n"),
  }, root);
}
