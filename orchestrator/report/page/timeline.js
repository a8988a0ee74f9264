/* A timeline: tracks under one axis, moved and magnified by mouse, finger and keyboard. */

const LEFT = 52, RIGHT = 8, AXIS = 20, NAME = 18, GAP = 6;

function timeline(side, view, settings) {
  const tracks = [eventTrack(side), ikeTrack(side), ...side.flows.map((flow) => flowTrack(side, flow, settings)),
    ...hopTracks(side), ...saTracks(side), ...addressTracks(side)].filter(Boolean);
  const height = AXIS + tracks.reduce((sum, track) => sum + NAME + track.height + GAP, 0);
  const drawing = svg("svg", { height, role: "img", "aria-label": described(side) });
  const chart = el("div", { class: "chart", tabindex: 0, role: "group", "aria-roledescription": "timeline", "data-chart": side.label,
    "aria-label": "Timeline. Plus and minus magnify, the arrow keys move, 0 shows all traffic, Home and End go to its ends." }, drawing);
  const where = el("span", { class: "window", role: "status" });
  const shown = el("i");
  const readout = el("p", { class: "readout" });
  let width = 0, waiting = false;

  const toTime = (px) => view.start + side.zero + (px - LEFT) / (width - LEFT - RIGHT) * view.width;

  function draw() {
    waiting = false;
    width = chart.clientWidth;
    if (!width) return;
    const d = { from: view.start + side.zero, to: view.end + side.zero, width: view.width, px: width - LEFT - RIGHT, left: LEFT };
    d.x = (t) => LEFT + (t - d.from) / d.width * d.px;
    const parts = [definitions(side.index, width, height)];
    const { step, found } = marks(d.from, d.to, d.px / 70);
    for (const t of found) {
      parts.push(svg("line", { x1: d.x(t), x2: d.x(t), y1: AXIS - 4, y2: height, class: "grid" }),
        svg("text", { x: d.x(t), y: 11, "text-anchor": "middle" }, `${(t / 1000).toFixed(Math.max(0, Math.ceil(3 - Math.log10(step) - 1e-9)))} s`));
    }
    let top = AXIS;
    const through = svg("g");
    for (const track of tracks) {
      const plot = svg("g", { transform: `translate(0,${top + NAME})`, "clip-path": `url(#plot-${side.index})` });
      const levels = svg("g", { transform: `translate(0,${top + NAME})` });
      d.add = (node) => plot.append(node);
      d.through = (x) => through.append(svg("line", { x1: x, x2: x, y1: AXIS, y2: height, class: "through" }));
      d.level = (y, text) => levels.append(svg("line", { x1: LEFT, x2: width - RIGHT, y1: y, y2: y, class: "grid" }),
        svg("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, text));
      parts.push(svg("line", { x1: 0, x2: width, y1: top, y2: top, class: "axis" }),
        svg("text", { x: 2, y: top + 13, class: "name" }, track.name, svg("tspan", { dx: 8, "font-weight": 400, fill: "var(--soft)" }, track.note ?? "")));
      track.draw(d);
      parts.push(levels, plot);
      top += NAME + track.height + GAP;
    }
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.replaceChildren(...parts, through);
    where.textContent = `${seconds(d.from, d.width)} to ${seconds(d.to, d.width)} (${lasting(d.width)})`;
    const [low, high] = view.full;
    shown.style.left = `${(view.start - low) / (high - low) * 100}%`;
    shown.style.width = `${view.width / (high - low) * 100}%`;
  }

  function later() {
    if (!waiting) { waiting = true; requestAnimationFrame(draw); }
  }

  view.onChange(later);
  settings.onChange(later);
  new ResizeObserver(later).observe(chart);
  chart.addEventListener("pointermove", (event) => {
    const t = toTime(event.offsetX);
    const packetBefore = side.events.shown.findLast?.((one) => one.t <= t && one.n)?.n;
    readout.textContent = [`${seconds(t, view.width)}`, packetBefore && `after packet #${packetBefore}`, ...tracks.map((track) => track.at?.(t))].filter(Boolean).join(" · ");
  });
  chart.addEventListener("pointerleave", () => { readout.textContent = ""; });
  chart.addEventListener("click", (event) => {
    const message = event.target.closest("[data-message]"), told = event.target.closest("[data-event]");
    if (message) settings.goTo(side, "message", Number(message.dataset.message));
    if (told) settings.goTo(side, "event", Number(told.dataset.event));
  });
  steer(chart, view, { scale: () => view.width / (width - LEFT - RIGHT), at: (px) => toTime(px) - side.zero, drawing, height });
  return { node: el("div", {}, toolbar(view, settings, where), el("div", { class: "minimap", "aria-hidden": "true" }, shown), chart, readout) };
}

function definitions(index, width, height) {
  return svg("defs", {},
    svg("pattern", { id: `hatch-${index}`, width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("line", { x1: 0, y1: 0, x2: 0, y2: 7, class: "hatch" })),
    svg("clipPath", { id: `plot-${index}` }, svg("rect", { x: LEFT, y: -2, width: Math.max(width - LEFT - RIGHT, 1), height: height + 4 })));
}

function described(side) {
  const flows = side.flows.map((flow) => `${flow.name}: ${count(flow.lostTotal ?? 0)} of ${count(flow.sent ?? 0)} lost, ${many(flow.total, "interruption")}`);
  return `Timeline of ${side.label}. ${flows.join("; ") || "No flows"}. ${many(side.hops.total, "hop")}, ${many(side.sas.total, "SA")}, ${many(side.ladder.total, "IKE message")}. The tables of this page say the same in words.`;
}

function toolbar(view, settings, where) {
  const button = (text, label, act) => el("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
  return el("div", { class: "tools" },
    el("span", { class: "group" }, button("−", "Show more time", () => view.zoom(2)), button("+", "Magnify", () => view.zoom(0.5)),
      button("←", "Earlier", () => view.pan(-view.width / 4)), button("→", "Later", () => view.pan(view.width / 4))),
    el("span", { class: "group" }, button("Traffic", "Show all traffic", () => view.set(...view.home)), button("Whole run", "Show the whole run", () => view.set(...view.full))),
    settings.toggle(), where);
}

/* Mouse: drag moves, Shift and drag selects, Ctrl and wheel magnify. Fingers: one moves, two magnify. */
function steer(chart, view, { scale, at, drawing, height }) {
  const fingers = new Map();
  let selection = null, from = 0, moved = false;
  const px = (event) => event.clientX - chart.getBoundingClientRect().left;
  chart.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      view.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 180), at(px(event)));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      view.pan(event.deltaX * scale());
    }
  }, { passive: false });
  chart.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    fingers.set(event.pointerId, px(event));
    moved = false;
    if (event.shiftKey) { from = px(event); selection = svg("rect", { x: from, y: 0, width: 0, height, class: "selection" }); drawing.append(selection); }
  });
  chart.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = fingers.get(event.pointerId), now = px(event);
    if (selection) {
      selection.setAttribute("x", Math.min(from, now)); selection.setAttribute("width", Math.abs(now - from));
      return;
    }
    if (!moved && Math.abs(now - before) < 4 && fingers.size === 1) return;
    if (!moved) { moved = true; chart.setPointerCapture(event.pointerId); chart.classList.add("dragging"); }
    if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      view.zoom(Math.abs(before - other) / Math.max(Math.abs(now - other), 8), at(other));
    } else view.pan((before - now) * scale());
    fingers.set(event.pointerId, now);
  });
  const end = (event) => {
    if (selection && event.type === "pointerup" && Math.abs(px(event) - from) > 5) {
      const ends = [at(from), at(px(event))].sort((a, b) => a - b);
      view.set(...ends);
    }
    selection?.remove();
    selection = null;
    fingers.delete(event.pointerId);
    chart.classList.remove("dragging");
  };
  chart.addEventListener("pointerup", end);
  chart.addEventListener("pointercancel", end);
  chart.addEventListener("dblclick", (event) => view.zoom(0.4, at(px(event))));
  chart.addEventListener("keydown", (event) => {
    const keys = { "+": () => view.zoom(0.5), "=": () => view.zoom(0.5), "-": () => view.zoom(2), "0": () => view.set(...view.home),
      ArrowLeft: () => view.pan(-view.width / 8), ArrowRight: () => view.pan(view.width / 8),
      Home: () => view.set(view.home[0], view.home[0] + view.width), End: () => view.set(view.home[1] - view.width, view.home[1]) };
    if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); keys[event.key](); }
  });
}
