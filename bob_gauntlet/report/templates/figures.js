/* The figures: scatter plots and strips, and the legends that switch families and styles off. */

const OFF = { family: new Set(), style: new Set() };

const shown = (panel) => panel.points.filter((p) => !OFF.family.has(of(p).family) && !OFF.style.has(of(p).style));
const ownLast = (a, b) => of(a).own - of(b).own;

/* one value against another */

function scatter(box, panel) {
  const points = shown(panel);
  const width = box.clientWidth;
  const height = Math.round(Math.min(430, Math.max(300, width * 0.74)));
  const root = frame(box, width, height, `${panel.y.short} against ${panel.x.short}, ${points.length} backbones`);
  if (!points.length) return;
  const edge = { left: 34, right: width - 10, top: 30, bottom: height - 42 };
  const x = axis(points.map((p) => p.x), edge.left, edge.right, { log: panel.x.log });
  const y = axis(points.map((p) => p.y), edge.bottom, edge.top);
  scales(root, panel, x, y, edge);
  const front = panel.points.filter((p) => p.front).sort((a, b) => a.x - b.x).map((p) => [x.at(p.x), y.at(p.y)]);
  const steps = front.map(([u, v], i) => (i ? `H${u}V${v}` : `M${u},${v}`)).join("");
  if (front.length > 1) svg("path", { class: "front", d: steps }, root);
  const placed = points.map((p) => ({ x: x.at(p.x), y: y.at(p.y), r: radius(of(p)), point: p }));
  placed.sort((a, b) => ownLast(a.point, b.point) || b.r - a.r);
  for (const { x: u, y: v, r, point } of placed) {
    const against = panel.x.log ? `${panel.x.short}: ${plain(point.x)}` : `${panel.x.short} ${say(point.x)}`;
    mark(root, point, u, v, r, colourOf(of(point)), [`${panel.y.short} ${say(point.y)}`, against]);
  }
  labels(root, placed, { ...edge, left: edge.left + 4 }, segments(front), width > 700 ? 48 : 30);
}

function scales(root, panel, x, y, edge) {
  for (const tick of x.ticks) {
    line(root, tick === 0 ? "zero" : "grid", x.at(tick), edge.top, x.at(tick), edge.bottom);
    text(root, plain(tick), x.at(tick), edge.bottom + 17, { anchor: "middle" });
  }
  for (const tick of y.ticks) {
    line(root, tick === 0 ? "zero" : "grid", edge.left, y.at(tick), edge.right, y.at(tick));
    text(root, plain(tick), edge.left - 7, y.at(tick) + 4, { anchor: "end" });
  }
  const [low, high] = [Math.max(x.low, y.low), Math.min(x.high, y.high)];
  if (!panel.x.log && low < high) line(root, "diagonal", x.at(low), y.at(low), x.at(high), y.at(high));
  text(root, `↑ ${panel.y.label}`, 0, 13, { kind: "name" });
  text(root, `${panel.x.label} →`, edge.right, edge.bottom + 37, { kind: "name", anchor: "end" });
}

/* names beside marks: own backbones always, those on the front where there is room */

function labels(root, placed, edge, lines, longest) {
  const taken = [];
  const wanted = placed.filter(({ point }) => of(point).own || point.front);
  for (const at of wanted.sort((a, b) => ownLast(b.point, a.point))) {
    const { own, title } = of(at.point);
    const node = text(root, short(title, longest), 0, 0, { kind: own ? "label own" : "label" });
    const wide = node.getComputedTextLength();
    const others = [...placed.filter((other) => other !== at).map(around), ...lines];
    const best = spots(at, wide)
      .map((spot) => ({ ...spot, cost: cost(spot, edge, taken, others) }))
      .reduce((a, b) => (b.cost < a.cost ? b : a));
    if (!own && best.cost > 0) {
      node.remove();
      continue;
    }
    const left = Math.max(edge.left, Math.min(best.left + 3, edge.right - wide));
    node.setAttribute("x", left);
    node.setAttribute("y", best.bottom - 3);
    taken.push({ ...best, left: left - 3, right: left + wide + 3 });
  }
}

/* the boxes around a mark where its name may stand */
function spots(at, wide) {
  const off = at.r + 5;
  const left = -off - wide;
  const middle = -wide / 2;
  const near = [[off, 4], [left, 4], [middle, -off - 3], [middle, off + 11]];
  const askew = [[off - 4, -off], [off - 4, off + 8], [left + 4, -off], [left + 4, off + 8]];
  const far = [[left, -off - 12], [left, off + 20], [middle, -off - 16], [middle, off + 24]];
  return [...near, ...askew, ...far].map(([dx, dy]) => {
    const [u, v] = [at.x + dx, at.y + dy];
    return { left: u - 3, right: u + wide + 3, top: v - 11, bottom: v + 3 };
  });
}

function cost(spot, edge, taken, others) {
  const across = spot.left >= edge.left && spot.right <= edge.right;
  const inside = across && spot.top >= edge.top && spot.bottom <= edge.bottom;
  const met = (boxes) => boxes.filter((box) => crosses(spot, box)).length;
  return (inside ? 0 : 100) + 20 * met(taken) + met(others);
}

const crosses = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const around = ({ x, y, r }) => ({ left: x - r, right: x + r, top: y - r, bottom: y + r });

/* the steps of a line through points, as boxes */
const segments = (points) => points.slice(1).flatMap(([x, y], i) => {
  const [u, v] = points[i];
  const across = { left: u, right: x, top: v - 1, bottom: v + 1 };
  return [across, { left: x - 1, right: x + 1, top: Math.min(v, y), bottom: Math.max(v, y) }];
});

/* a row a pretraining method, the one that gains most first; dots that would overlap are moved up or down */

function strips(box, panel) {
  const points = shown(panel);
  const every = Object.values(DATA.panels).filter((other) => other.kind === "strips").flatMap(shown);
  const methods = byMean(every);
  const [width, row] = [box.clientWidth, 34];
  const height = methods.length * row + 52;
  const root = frame(box, width, height, `${panel.title}: ${panel.x.label}, ${points.length} backbones`);
  if (!points.length) return;
  const edge = { left: Math.min(130, width * 0.36), right: width - 8, top: 6, bottom: height - 46 };
  const x = axis([0, ...every.map((p) => p.x)], edge.left, edge.right, { around: 0.05 });
  for (const tick of x.ticks) {
    line(root, tick === 0 ? "zero" : "grid", x.at(tick), edge.top, x.at(tick), edge.bottom);
    text(root, (tick > 0 ? "+" : "") + plain(tick), x.at(tick), edge.bottom + 17, { anchor: "middle" });
  }
  methods.forEach((method, i) => {
    const middle = edge.top + (i + 0.5) * row;
    line(root, "grid", edge.left, middle, edge.right, middle);
    text(root, short(method || "not stated", 20), 0, middle + 4, { kind: "name" });
    dots(root, points.filter((p) => of(p).method === method).sort(ownLast), x, middle);
  });
  const better = width > 420 ? "better " : "";
  text(root, `← ${better}frozen`, edge.left, edge.bottom + 37, { kind: "name" });
  text(root, `${better}fine-tuned →`, edge.right, edge.bottom + 37, { kind: "name", anchor: "end" });
}

function dots(root, points, x, middle) {
  const [r, taken] = [6, []];
  for (const p of points) {
    const at = x.at(p.x);
    const room = (dy) => Math.min(2 * r - 1, ...taken.map((other) => Math.hypot(other.at - at, other.dy - dy)));
    const dy = [0, -10, 10, -5, 5].reduce((best, other) => (room(other) > room(best) ? other : best));
    taken.push({ at, dy });
    const told = `${say(p.x)}: fine-tuned ${say(p.finetuned)}, frozen ${say(p.frozen)}`;
    mark(root, p, at, middle + dy, r, familyColour(of(p).family), [told]);
  }
}

function byMean(points) {
  const gains = new Map();
  for (const p of points) gains.set(of(p).method, [...(gains.get(of(p).method) ?? []), p.x]);
  const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  return [...gains].sort(([, a], [, b]) => mean(b) - mean(a)).map(([method]) => method);
}

/* legends, and what redraws */

function draw(box) {
  const panel = DATA.panels[box.dataset.panel];
  if (box.clientWidth) ({ scatter, strips })[panel.kind](box, panel);
}

function swatch(family, colour) {
  const root = svg("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
  svg("path", { class: `mark ${colour}`, d: family === null ? SHAPES[0](5) : shapeOf(family)(5) }, root);
  return root;
}

function legend(box) {
  const coloured = box.dataset.legend === "family-colour" || DATA.styles.length < 2;
  const family = (value) => swatch(value, coloured ? familyColour(value) : "plain");
  choices(box, "family", DATA.families, family);
  if (!coloured) choices(box, "style", DATA.styles, (value) => swatch(null, styleColour(value)));
}

function choices(box, field, values, picture) {
  if (values.length < 2) return;
  box.append(Object.assign(document.createElement("span"), { textContent: field === "family" ? "Family" : "Style" }));
  for (const value of values) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(picture(value), value || "not stated");
    Object.assign(button.dataset, { field, value });
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => toggle(field, value));
    box.append(button);
  }
}

function toggle(field, value) {
  if (!OFF[field].delete(value)) OFF[field].add(value);
  for (const button of document.querySelectorAll(`.legend [data-field="${field}"]`)) {
    button.setAttribute("aria-pressed", String(!OFF[field].has(button.dataset.value)));
  }
  document.querySelectorAll(".plot").forEach(draw);
}

function press(group, button) {
  for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
  const box = group.parentElement.querySelector(".plot");
  box.dataset.panel = button.dataset.panel;
  draw(box);
}

function startFigures() {
  if (!DATA) return;
  document.querySelectorAll(".legend").forEach(legend);
  const widths = new WeakMap();
  const watcher = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (widths.get(target) === target.clientWidth) continue;
      widths.set(target, target.clientWidth);
      draw(target);
    }
  });
  document.querySelectorAll(".plot").forEach((box) => watcher.observe(box));
  for (const group of document.querySelectorAll(".switch")) {
    group.hidden = false;
    for (const button of group.children) button.addEventListener("click", () => press(group, button));
  }
}
