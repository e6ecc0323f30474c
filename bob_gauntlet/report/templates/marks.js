"use strict";
/* What the figures are made of: the page's data, SVG nodes, axes, and a mark for each backbone. */

const DATA = JSON.parse(document.getElementById("figure-data")?.textContent ?? "null");
const STYLES = ["supervised", "self-supervised", "vision-language", "none"];
const COLOURS = 6;
const LARGEST = 15;

/* numbers and names */

const say = (value) => `${value >= 0 ? "+" : ""}${value.toFixed(2)}`.replace("-", "−");
const plain = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 }).replace("-", "−");
const short = (words, length) => (words.length > length ? `${words.slice(0, length - 1)}…` : words);
const of = (point) => DATA.backbones[point.b];

/* SVG: text is set as text, never as markup */

function svg(name, attributes = {}, parent = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent?.append(node);
  return node;
}

function text(root, words, x, y, { anchor = "start", kind = "" } = {}) {
  const node = svg("text", { x, y, "text-anchor": anchor, class: kind }, root);
  node.textContent = words;
  return node;
}

const line = (root, kind, x1, y1, x2, y2) => svg("line", { class: kind, x1, y1, x2, y2 }, root);

function frame(box, width, height, label) {
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": label });
  box.replaceChildren(root);
  return root;
}

/* axes: where a value lies between two ends, and the ticks */

function axis(values, from, to, { log = false, around = 0.07 } = {}) {
  const map = log ? Math.log10 : (v) => v;
  let [low, high] = [Math.min(...values.map(map)), Math.max(...values.map(map))];
  const room = (high - low || 1) * around;
  [low, high] = [low - room, high + room];
  const at = (value) => from + ((map(value) - low) / (high - low)) * (to - from);
  const ticks = log ? logTicks(low, high) : linearTicks(low, high, Math.max(4, Math.abs(to - from) / 70));
  return { at, low, high, ticks };
}

function linearTicks(low, high, count) {
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw);
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k += 1) ticks.push(Number((k * step).toPrecision(10)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(low); power <= high; power += 1) {
    ticks.push(...[1, 2, 5].map((m) => m * 10 ** power).filter((t) => Math.log10(t) >= low && Math.log10(t) <= high));
  }
  return ticks.length >= 3 ? ticks : linearTicks(10 ** low, 10 ** high, 6);
}

/* marks: a shape a family, a colour a style or a family, an area by parameters */

const polygon = (...points) => `M${points.map((p) => p.map((v) => v.toFixed(2)).join(",")).join("L")}Z`;

function cross(arm) {
  const half = 3 * arm;
  return polygon([-arm, -half], [arm, -half], [arm, -arm], [half, -arm], [half, arm], [arm, arm], [arm, half],
    [-arm, half], [-arm, arm], [-half, arm], [-half, -arm], [-arm, -arm]);
}

function pentagon(radius) {
  const corners = [0, 1, 2, 3, 4].map((k) => (k * 2 * Math.PI) / 5);
  return polygon(...corners.map((angle) => [radius * Math.sin(angle), -radius * Math.cos(angle)]));
}

/* all of one area for one r */
const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0Z`,
  (r) => ((s) => polygon([-s, -s], [s, -s], [s, s], [-s, s]))(0.886 * r),
  (r) => ((s) => polygon([0, -s], [0.866 * s, s / 2], [-0.866 * s, s / 2]))(1.555 * r),
  (r) => ((s) => polygon([0, -s], [s, 0], [0, s], [-s, 0]))(1.253 * r),
  (r) => cross(0.396 * r),
  (r) => ((s) => polygon([0, s], [0.866 * s, -s / 2], [-0.866 * s, -s / 2]))(1.555 * r),
  (r) => pentagon(1.15 * r),
];

const shapeOf = (family) => SHAPES[DATA.families.indexOf(family) % SHAPES.length];
const familyColour = (family) => `f${DATA.families.indexOf(family) % COLOURS}`;

function styleColour(style) {
  const known = STYLES.indexOf(style);
  return `s${known >= 0 ? known : style ? 4 : 5}`;
}

/* by style where several are known, else by family */
const colourOf = (backbone) => (DATA.styles.length > 1 ? styleColour(backbone.style) : familyColour(backbone.family));

function radius(backbone) {
  const largest = Math.max(...DATA.backbones.map((b) => b.params ?? 0)) || 1;
  return backbone.params === null ? 5 : Math.max(4, LARGEST * Math.sqrt(backbone.params / largest));
}

function about(backbone) {
  const pretraining = [backbone.method, backbone.data === "none" ? "" : backbone.data].filter(Boolean).join(" on ");
  const size = backbone.params === null ? "" : `${plain(backbone.params)} M parameters`;
  return [pretraining, [backbone.family, size].filter(Boolean).join(", ")].filter(Boolean);
}

function mark(root, point, x, y, r, colour, lines) {
  const backbone = of(point);
  return svg("path", {
    class: `mark ${colour}${backbone.own ? " own" : ""}`,
    d: shapeOf(backbone.family)(r),
    transform: `translate(${x.toFixed(1)},${y.toFixed(1)})`,
    "data-b": point.b,
    "data-tip": [backbone.title, ...lines, ...about(backbone)].join("\n"),
  }, root);
}
