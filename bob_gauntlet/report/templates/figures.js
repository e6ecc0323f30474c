/* The figures: scatter plots, strip plots, and the legends that hide families and styles. */

const HIDDEN = { family: new Set(), style: new Set() };

const isVisible = ({ family, style }) => !HIDDEN.family.has(family) && !HIDDEN.style.has(style);
const visiblePoints = (panel) => panel.points.filter((point) => isVisible(backboneOf(point)));
const compareOwnLast = (a, b) => backboneOf(a).own - backboneOf(b).own;

/* scatter plot: one value against another */

function drawScatter(box, panel) {
  const points = visiblePoints(panel);
  const width = box.clientWidth;
  const height = Math.round(Math.min(430, Math.max(300, width * 0.74)));
  const label = `${panel.y.short} against ${panel.x.short}, ${points.length} backbones`;
  const root = startFigure(box, width, height, label);
  if (!points.length) return;
  const area = { left: 34, right: width - 10, top: 30, bottom: height - 42 };
  const xAxis = makeAxis(points.map((point) => point.x), area.left, area.right, { log: panel.x.log });
  const yAxis = makeAxis(points.map((point) => point.y), area.bottom, area.top);
  drawAxes(root, panel, xAxis, yAxis, area);
  const frontPoints = panel.points.filter((point) => point.front).sort((a, b) => a.x - b.x);
  const front = frontPoints.map((point) => [xAxis.position(point.x), yAxis.position(point.y)]);
  const steps = front.map(([x, y], i) => (i ? `H${x}V${y}` : `M${x},${y}`)).join("");
  if (front.length > 1) addElement("path", { class: "front", d: steps }, root);
  const marks = points.map((point) => ({
    x: xAxis.position(point.x), y: yAxis.position(point.y), radius: radiusOf(backboneOf(point)), point,
  }));
  marks.sort((a, b) => compareOwnLast(a.point, b.point) || b.radius - a.radius);
  for (const { x, y, radius, point } of marks) {
    const yText = `${panel.y.short} ${formatSigned(point.y)}`;
    const xText = panel.x.log
      ? `${panel.x.short}: ${formatNumber(point.x)}` : `${panel.x.short} ${formatSigned(point.x)}`;
    addMark(root, point, x, y, radius, colourOfBackbone(backboneOf(point)), [yText, xText]);
  }
  addLabels(root, marks, { ...area, left: area.left + 4 }, segmentBoxes(front), width > 700 ? 48 : 30);
}

function drawAxes(root, panel, xAxis, yAxis, area) {
  for (const tick of xAxis.ticks) {
    const x = xAxis.position(tick);
    addLine(root, tick === 0 ? "zero" : "grid", x, area.top, x, area.bottom);
    addText(root, formatNumber(tick), x, area.bottom + 17, { anchor: "middle" });
  }
  for (const tick of yAxis.ticks) {
    const y = yAxis.position(tick);
    addLine(root, tick === 0 ? "zero" : "grid", area.left, y, area.right, y);
    addText(root, formatNumber(tick), area.left - 7, y + 4, { anchor: "end" });
  }
  const [low, high] = [Math.max(xAxis.low, yAxis.low), Math.min(xAxis.high, yAxis.high)];
  if (!panel.x.log && low < high) {
    const [start, end] = [low, high].map((value) => [xAxis.position(value), yAxis.position(value)]);
    addLine(root, "diagonal", ...start, ...end);
  }
  addText(root, `↑ ${panel.y.label}`, 0, 13, { className: "axis-title" });
  addText(root, `${panel.x.label} →`, area.right, area.bottom + 37, { className: "axis-title", anchor: "end" });
}

/* names beside marks: always for backbones of the report, where there is space for those on the front */

function addLabels(root, marks, area, frontBoxes, longest) {
  const placedBoxes = [];
  const labelled = marks.filter(({ point }) => backboneOf(point).own || point.front);
  for (const mark of labelled.sort((a, b) => compareOwnLast(b.point, a.point))) {
    const { own, title } = backboneOf(mark.point);
    const element = addText(root, truncate(title, longest), 0, 0, { className: own ? "label own" : "label" });
    const width = element.getComputedTextLength();
    const obstacles = [...marks.filter((other) => other !== mark).map(markBox), ...frontBoxes];
    const best = labelBoxes(mark, width)
      .map((box) => ({ ...box, cost: labelCost(box, area, placedBoxes, obstacles) }))
      .reduce((a, b) => (b.cost < a.cost ? b : a));
    if (!own && best.cost > 0) {
      element.remove();
      continue;
    }
    const left = Math.max(area.left, Math.min(best.left + 3, area.right - width));
    element.setAttribute("x", left);
    element.setAttribute("y", best.bottom - 3);
    placedBoxes.push({ ...best, left: left - 3, right: left + width + 3 });
  }
}

/* the candidate boxes around a mark for a label of a given width, best first */
function labelBoxes(mark, width) {
  const gap = mark.radius + 5;
  const left = -gap - width;
  const middle = -width / 2;
  const near = [[gap, 4], [left, 4], [middle, -gap - 3], [middle, gap + 11]];
  const diagonal = [[gap - 4, -gap], [gap - 4, gap + 8], [left + 4, -gap], [left + 4, gap + 8]];
  const far = [[left, -gap - 12], [left, gap + 20], [middle, -gap - 16], [middle, gap + 24]];
  return [...near, ...diagonal, ...far].map(([dx, dy]) => {
    const [x, y] = [mark.x + dx, mark.y + dy];
    return { left: x - 3, right: x + width + 3, top: y - 11, bottom: y + 3 };
  });
}

function labelCost(box, area, placedBoxes, obstacles) {
  const fitsWidth = box.left >= area.left && box.right <= area.right;
  const fits = fitsWidth && box.top >= area.top && box.bottom <= area.bottom;
  const countOverlaps = (others) => others.filter((other) => overlaps(box, other)).length;
  return (fits ? 0 : 100) + 20 * countOverlaps(placedBoxes) + countOverlaps(obstacles);
}

const overlaps = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const markBox = ({ x, y, radius }) => ({ left: x - radius, right: x + radius, top: y - radius, bottom: y + radius });

/* the horizontal and vertical steps of a line through points, as boxes */
const segmentBoxes = (points) => points.slice(1).flatMap(([x, y], i) => {
  const [previousX, previousY] = points[i];
  const horizontal = { left: previousX, right: x, top: previousY - 1, bottom: previousY + 1 };
  const vertical = { left: x - 1, right: x + 1, top: Math.min(previousY, y), bottom: Math.max(previousY, y) };
  return [horizontal, vertical];
});

/* strip plot: one row per pretraining method, the largest mean first; overlapping marks are moved up or down */

function drawStrips(box, panel) {
  const points = visiblePoints(panel);
  const allPoints = Object.values(DATA.panels).filter(({ kind }) => kind === "strips").flatMap(visiblePoints);
  const methods = methodsByMean(allPoints);
  const [width, rowHeight] = [box.clientWidth, 34];
  const height = methods.length * rowHeight + 52;
  const root = startFigure(box, width, height, `${panel.title}: ${panel.x.label}, ${points.length} backbones`);
  if (!points.length) return;
  const area = { left: Math.min(130, width * 0.36), right: width - 8, top: 6, bottom: height - 46 };
  const axis = makeAxis([0, ...allPoints.map((point) => point.x)], area.left, area.right, { margin: 0.05 });
  for (const tick of axis.ticks) {
    const x = axis.position(tick);
    addLine(root, tick === 0 ? "zero" : "grid", x, area.top, x, area.bottom);
    addText(root, (tick > 0 ? "+" : "") + formatNumber(tick), x, area.bottom + 17, { anchor: "middle" });
  }
  methods.forEach((method, i) => {
    const y = area.top + (i + 0.5) * rowHeight;
    addLine(root, "grid", area.left, y, area.right, y);
    addText(root, truncate(method || "not stated", 20), 0, y + 4, { className: "axis-title" });
    const pointsOfMethod = points.filter((point) => backboneOf(point).method === method);
    addStripMarks(root, pointsOfMethod.sort(compareOwnLast), axis, y);
  });
  const better = width > 420 ? "better " : "";
  const y = area.bottom + 37;
  addText(root, `← ${better}frozen`, area.left, y, { className: "axis-title" });
  addText(root, `${better}fine-tuned →`, area.right, y, { className: "axis-title", anchor: "end" });
}

function addStripMarks(root, points, axis, y) {
  const radius = 6;
  const placed = [];
  for (const point of points) {
    const x = axis.position(point.x);
    const distance = (dy) => Math.min(2 * radius - 1, ...placed.map((other) => Math.hypot(other.x - x, other.dy - dy)));
    const dy = [0, -10, 10, -5, 5].reduce((best, other) => (distance(other) > distance(best) ? other : best));
    placed.push({ x, dy });
    const parts = `fine-tuned ${formatSigned(point.finetuned)}, frozen ${formatSigned(point.frozen)}`;
    const colour = colourOfFamily(backboneOf(point).family);
    addMark(root, point, x, y + dy, radius, colour, [`${formatSigned(point.x)}: ${parts}`]);
  }
}

function methodsByMean(points) {
  const valuesByMethod = new Map();
  for (const point of points) {
    const { method } = backboneOf(point);
    valuesByMethod.set(method, [...(valuesByMethod.get(method) ?? []), point.x]);
  }
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return [...valuesByMethod].sort(([, a], [, b]) => mean(b) - mean(a)).map(([method]) => method);
}

/* legends, and drawing again */

function drawPanel(box) {
  const panel = DATA.panels[box.dataset.panel];
  if (box.clientWidth) ({ scatter: drawScatter, strips: drawStrips })[panel.kind](box, panel);
}

function makeSwatch(family, colour) {
  const root = addElement("svg", { width: 16, height: 16, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
  addElement("path", { class: `mark ${colour}`, d: family === null ? SHAPES[0](5) : shapeOfFamily(family)(5) }, root);
  return root;
}

function fillLegend(box) {
  const familyHasColour = box.dataset.legend === "family-colour" || DATA.styles.length < 2;
  const familySwatch = (family) => makeSwatch(family, familyHasColour ? colourOfFamily(family) : "plain");
  addLegendButtons(box, "family", DATA.families, familySwatch);
  if (!familyHasColour) addLegendButtons(box, "style", DATA.styles, (style) => makeSwatch(null, colourOfStyle(style)));
}

function addLegendButtons(box, field, values, swatchOf) {
  if (values.length < 2) return;
  box.append(Object.assign(document.createElement("span"), { textContent: field === "family" ? "Family" : "Style" }));
  for (const value of values) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(swatchOf(value), value || "not stated");
    Object.assign(button.dataset, { field, value });
    button.setAttribute("aria-pressed", "true");
    button.addEventListener("click", () => toggleVisibility(field, value));
    box.append(button);
  }
}

function toggleVisibility(field, value) {
  if (!HIDDEN[field].delete(value)) HIDDEN[field].add(value);
  for (const button of document.querySelectorAll(`.legend [data-field="${field}"]`)) {
    button.setAttribute("aria-pressed", String(!HIDDEN[field].has(button.dataset.value)));
  }
  document.querySelectorAll(".plot").forEach(drawPanel);
}

function selectPanel(group, button) {
  for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
  const box = group.parentElement.querySelector(".plot");
  box.dataset.panel = button.dataset.panel;
  drawPanel(box);
}

function startFigures() {
  if (!DATA) return;
  document.querySelectorAll(".legend").forEach(fillLegend);
  const widths = new WeakMap();
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (widths.get(target) === target.clientWidth) continue;
      widths.set(target, target.clientWidth);
      drawPanel(target);
    }
  });
  document.querySelectorAll(".plot").forEach((box) => observer.observe(box));
  for (const group of document.querySelectorAll(".switch")) {
    group.hidden = false;
    for (const button of group.children) button.addEventListener("click", () => selectPanel(group, button));
  }
}
