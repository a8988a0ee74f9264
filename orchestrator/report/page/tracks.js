/* What a timeline draws: each track gets `draw`, which has the scale and the SVG group, and fills its height. */

const GLYPHS = {  /* by the kind's first word: the shape says it too, not only the colour */
  "fault": "M-5,-5 L5,5 M-5,5 L5,-5", "child-sa": "M0,-6 L6,0 L0,6 L-6,0 Z", "ike-sa": "M-5,-5 H5 V5 H-5 Z",
  "address": "M0,-5 A5,5 0 1 1 -0.01,-5 Z", "": "M0,-5 L5,4 H-5 Z",
};
const SHOWN_EVENTS = ["fault", "child-sa", "ike-sa", "address", "charon", "node", "link", "ike", "flow"];
const PLOT = 64;

function mark(kind, x, y, attributes, ...content) {
  const path = svg("path", { d: GLYPHS[kind] ?? GLYPHS[""], transform: `translate(${x},${y})`, ...attributes,
    class: `mark ${kind} ${attributes?.class ?? ""}` }, ...content);
  if (kind === "fault") { path.setAttribute("stroke", "var(--fault)"); path.setAttribute("stroke-width", 2.5); }
  return path;
}

function eventTrack(side) {
  const events = side.events.shown.filter((event) => SHOWN_EVENTS.includes(group(event.kind)) && event.kind !== "charon.log");
  const note = side.events.total > side.events.shown.length ? `${count(side.events.shown.length)} of ${many(side.events.total, "event")}` : "";
  return { name: "Events", note, height: 28, draw(d) {
    const seen = new Map();  /* one glyph for each kind in a place: a thousand upon each other say no more */
    for (let i = firstAt(events, (event) => event.t >= d.from); i < events.length && events[i].t <= d.to; i += 1) {
      const event = events[i];
      const x = d.x(event.t);
      const place = `${group(event.kind)} ${Math.round(x / 7)}`;
      if (seen.has(place)) { seen.get(place).more.push(event); continue; }
      seen.set(place, { x, event, more: [] });
    }
    for (const { x, event, more } of seen.values()) {
      const kind = group(event.kind);
      if (kind === "fault") d.through(x);
      const told = [event, ...more].slice(0, 6).map((one) => `${seconds(one.t, d.width)}  ${one.kind} ${one.node}`).join("\n");
      const rest = more.length > 5 ? `\n… and ${more.length - 5} more` : "";
      d.add(mark(kind, x, kind === "fault" ? 7 : 20, { "data-event": side.events.shown.indexOf(event) }, svg("title", {}, told + rest)));
    }
  } };
}

function ikeTrack(side) {
  const { messages } = side.ladder;
  return messages.length && { name: "IKE messages", height: 20, draw(d) {
    let before = -Infinity;
    for (let i = firstAt(messages, (one) => one.t >= d.from); i < messages.length && messages[i].t <= d.to; i += 1) {
      const message = messages[i];
      const x = d.x(message.t);
      if (x - before < 1.5 && !message.again) continue;
      before = x;
      d.add(svg("line", { x1: x, x2: x, y1: message.again ? 1 : 5, y2: 17, class: `tick ike-message${message.again ? " again" : ""}`,
        "data-message": i }, svg("title", {}, `${seconds(message.t, d.width)}  ${message.x} ${message.no}, packet ${message.n}` +
        (message.again ? `, repeats packet ${message.again}` : ""))));
    }
  } };
}

/* Levels of a delay axis: decades of ms that the flow's delays span. */
function delayScale(track) {
  let low = Infinity, high = 0;
  track.arrived.forEach((n, i) => { if (n) { low = Math.min(low, track.low[i]); high = Math.max(high, track.high[i]); } });
  if (!high) return null;
  const bottom = Math.log10(Math.max(low, 10) * 0.8), top = Math.log10(Math.max(high, 20) * 1.3);
  const y = (us) => PLOT - 2 - (Math.log10(Math.max(us, 10)) - bottom) / (top - bottom) * (PLOT - 6);
  const levels = [];
  for (let power = Math.ceil(bottom); power <= top; power += 1) levels.push(10 ** power);
  return { y, levels, text: (us) => us >= 1e6 ? `${us / 1e6} s` : us >= 1000 ? `${us / 1000} ms` : `${us} µs` };
}

function drawDelay(d, track) {
  const scale = delayScale(track);
  if (!scale) return;
  for (const level of scale.levels) d.level(scale.y(level), scale.text(level));
  const detailed = track.details.filter((one) => one.end >= d.from && one.start <= d.to);
  const fine = detailed.length && track.width / d.width * d.px > 3;
  let path = "", open = false;
  const upper = [], lower = [];
  const flush = () => {
    if (upper.length) path += "M" + upper.join("L") + "L" + lower.reverse().join("L") + "Z";
    upper.length = lower.length = 0;
  };
  const begin = Math.max(0, Math.floor((d.from - track.start) / track.width) - 1);
  const end = Math.min(track.arrived.length, Math.ceil((d.to - track.start) / track.width) + 1);
  for (let i = begin; i < end; i += 1) {
    const t = track.start + i * track.width;
    open = track.arrived[i] && !(fine && detailed.some((one) => one.whole || (one.start <= t && one.end >= t + track.width - track.interval)));
    if (!open) { flush(); continue; }
    for (const x of [d.x(t), d.x(t + track.width)]) {
      upper.push(`${x.toFixed(1)},${scale.y(track.high[i]).toFixed(1)}`);
      lower.push(`${x.toFixed(1)},${(scale.y(track.low[i]) + 0.5).toFixed(1)}`);
    }
  }
  flush();
  d.add(svg("path", { d: path, class: "area" }));
  if (!fine) return;
  let dots = "";
  const r = track.interval / d.width * d.px > 6 ? 2 : 1.2;
  for (const one of detailed) eachArrival(one, d.from, d.to, (t, us) => {
    dots += `M${(d.x(t) - r).toFixed(1)},${(scale.y(us) - r).toFixed(1)}h${2 * r}v${2 * r}h${-2 * r}z`;
  });
  d.add(svg("path", { d: dots, class: "dot" }));
}

function eachArrival(detail, from, to, take) {
  let us = detail.start * 1000;
  for (let i = 0; i < detail.steps.length; i += 1) {
    us += detail.steps[i];
    const t = us / 1000;
    if (t > to) return;
    if (t >= from) take(t, detail.delays[i]);
  }
}

function drawRate(d, track) {
  const nominal = 1000 / track.interval;
  const bin = Math.max(track.interval * 5, d.width / d.px * 4);
  const rates = [];
  const inside = track.details.find((one) => one.start <= Math.max(d.from, track.start) && one.end >= Math.min(d.to, track.end) - bin);
  if (inside && bin < track.width) {
    const from = Math.floor(Math.max(d.from, track.start) / bin) * bin;
    const bins = new Array(Math.max(1, Math.ceil((Math.min(d.to, track.end) - from) / bin))).fill(0);
    eachArrival(inside, from, d.to, (t) => { const i = Math.floor((t - from) / bin); if (i < bins.length) bins[i] += 1; });
    bins.forEach((n, i) => rates.push([from + i * bin, from + (i + 1) * bin, n / bin * 1000]));
  } else {
    const join = Math.max(1, Math.round(bin / track.width));
    for (let i = 0; i < track.arrived.length; i += join) {
      const part = track.arrived.slice(i, i + join);
      const t = track.start + i * track.width, until = Math.min(t + part.length * track.width, track.end);
      rates.push([t, until, part.reduce((a, b) => a + b, 0) / (until - t) * 1000]);
    }
  }
  const top = Math.max(nominal * 1.5, ...rates.map((one) => Math.min(one[2], nominal * 3)));
  const y = (rate) => PLOT - 2 - Math.min(rate, top) / top * (PLOT - 6);
  d.level(y(nominal), `${Math.round(nominal)}/s`);
  d.level(y(0), "0");
  d.add(svg("path", { class: "rate", d: rates.filter((one) => one[1] >= d.from && one[0] <= d.to).map(([a, b, rate], i) =>
    `${i ? "L" : "M"}${d.x(a).toFixed(1)},${y(rate).toFixed(1)}L${d.x(b).toFixed(1)},${y(rate).toFixed(1)}`).join("") }));
}

function flowTrack(side, flow, settings) {
  const { track } = flow;
  if (!track) return null;
  const lost = flow.lostTotal ? `${count(flow.lostTotal)} lost` : "0 lost";
  const ends = flow.source && flow.destination ? `${flow.source} → ${flow.destination} · ` : "";
  return { name: flow.name, note: `${ends}${lost} of ${count(flow.sent ?? 0)}`, height: PLOT, draw(d) {
    for (const one of flow.interruptions) {
      if (one.end < d.from || one.start > d.to) continue;
      const x = d.x(one.start), width = Math.max(d.x(one.end) - x, 3);
      const told = `${many(one.lost, "probe")} lost in ${lasting(one.end - one.start)}` + (one.cause ? `\nafter ${one.cause}` : "");
      d.add(svg("g", { "data-interruption": true, onclick: () => settings.view.around(one.start - side.zero, one.end - side.zero) },
        svg("rect", { x, y: 0, width, height: PLOT, class: "band" }), svg("rect", { x, y: 0, width, height: PLOT, fill: `url(#hatch-${side.index})` }),
        svg("title", {}, told)));
      const label = `${one.lost ? `${count(one.lost)} lost · ` : ""}${lasting(one.end - one.start)}`;
      if (width > label.length * 6.4 + 8) d.add(svg("text", { x: Math.max(x, d.x(d.from)) + 5, y: 12, class: "tell" }, label));
    }
    (settings.what === "rate" ? drawRate : drawDelay)(d, track);
    hopMarks(d, side, flow);
    for (const [from, to, n] of track.losses) {
      if (to < d.from || from > d.to) continue;
      d.add(svg("rect", { x: d.x(from) - 0.75, y: PLOT - 5, width: Math.max(d.x(to) - d.x(from), 0) + 1.5, height: 5, class: "lost" },
        svg("title", {}, `${many(n, "probe")} lost, sent from ${seconds(from, d.width)} on`)));
    }
  }, at(t) {
    const i = Math.floor((t - track.start) / track.width);
    const lost = track.losses.some(([from, to]) => t >= from - track.interval / 2 && t <= to + track.interval / 2);
    if (lost) return `${flow.name}: lost`;
    if (!track.arrived[i]) return "";
    const [low, high] = [track.low[i] / 1000, track.high[i] / 1000];
    return `${flow.name}: ${low === high ? lasting(low) : `${lasting(low)} to ${lasting(high)}`}`;
  } };
}

/* Bars in as few rows as they need. */
function packed(lines, from, to) {
  const rows = [];
  return lines.map((line) => {
    let row = rows.findIndex((until) => until <= from(line));
    if (row < 0) row = rows.push(0) - 1;
    rows[row] = to(line);
    return { line, row };
  });
}

function barTrack(name, note, lines, from, to, drawBar) {
  const bars = packed([...lines].sort((a, b) => from(a) - from(b)), from, to);
  const rows = bars.reduce((most, bar) => Math.max(most, bar.row + 1), 1);
  return { name, note, height: rows * 20 + 2, draw(d) {
    for (const { line, row } of bars) {
      if (to(line) < d.from || from(line) > d.to) continue;
      const x = Math.max(d.x(from(line)), d.left - 4), end = Math.min(d.x(to(line)), d.left + d.px + 4);
      drawBar(d, line, { x, y: row * 20 + 2, width: Math.max(end - x, 2), height: 16 });
    }
  } };
}

function barText(d, text, box) {
  const room = Math.floor((box.width - 8) / 6);
  if (room >= 4) d.add(svg("text", { x: box.x + 5, y: box.y + 11, "pointer-events": "none" }, text.length > room ? text.slice(0, room - 1) + "…" : text));
}

const leftOut = ({ lines, total }) => total > lines.length ? `${count(lines.length)} of ${count(total)} are on this page` : "";

/* The times in which an SA only receives: before it is effective, and once it is old. */
function inboundOnly(d, line, box, end) {
  const spans = [];
  if (line.effective !== null) spans.push([line.start ?? line.effective, line.effective]);
  if (line.old !== null) spans.push([line.old, end]);
  for (const [since, until] of spans) {
    const x = Math.max(d.x(since), box.x), width = Math.min(d.x(until), box.x + box.width) - x;
    if (width > 0) d.add(svg("rect", { x, y: box.y, width, height: box.height, rx: 3, class: "inbound" }));
  }
  if (line.effective !== null && line.effective >= d.from && line.effective <= d.to) {
    const x = d.x(line.effective);
    d.add(svg("line", { x1: x, x2: x, y1: box.y - 2, y2: box.y + box.height + 2, class: "effective" }, svg("title", {}, `effective${line.trigger && `, by ${line.trigger}`}`)));
  }
}

function saTracks(side) {
  const [start, end] = side.span;
  const nodes = [...new Set(side.sas.lines.map((line) => line.node))].sort();
  const from = (line) => line.start ?? start, to = (line) => line.end ?? end;
  return nodes.map((node) => barTrack(`SAs of ${node}`, leftOut(side.sas), side.sas.lines.filter((line) => line.node === node), from, to, (d, line, box) => {
    const child = line.kind === "child";
    const told = [`${child ? "CHILD_SA" : "IKE SA"} ${line.name} at ${node}`, `${child ? "in" : "initiator"} ${line.in} · ${child ? "out" : "responder"} ${line.out}`,
      `${seconds(from(line), d.width)} to ${line.end === null ? "the end" : seconds(line.end, d.width)} ${line.by}`, line.detail];
    if (line.effective !== null) told.push(`effective from ${seconds(line.effective, d.width)} on${line.trigger && `, by ${line.trigger}`}`);
    if (line.old !== null) told.push(`old from ${seconds(line.old, d.width)} on: inbound only`);
    if (line.used) told.push(`sent under it: ${many(line.used.packets, "packet")}, ${line.used.first} to ${line.used.last}`);
    d.add(svg("g", {}, svg("rect", { ...box, rx: 3, class: `${line.kind}${line.end === null ? " open" : ""}` }), svg("title", {}, told.join("\n"))));
    inboundOnly(d, line, box, to(line));
    if (line.used) {
      const x = Math.max(d.x(line.used.from), d.left), until = Math.min(d.x(line.used.to), d.left + d.px);
      if (until >= x) d.add(svg("rect", { x, y: box.y + box.height - 2, width: Math.max(until - x, 1.5), height: 2.5, class: "wire" }));
    }
    barText(d, child ? `${line.name} ${line.in}` : `IKE SA ${line.name}`, box);
  }));
}

const switchedAt = (hop) => hop.phases.switched === undefined ? null : hop.start + hop.phases.switched;

/* On a flow, the moments in which an address of one of its ends changed: small marks, one in a place. */
function hopMarks(d, side, flow) {
  let before = -Infinity;
  for (const hop of side.hops.lines) {
    const t = switchedAt(hop);
    if (t === null || t < d.from || t > d.to || ![flow.source, flow.destination].includes(hop.node)) continue;
    const x = d.x(t);
    if (Math.abs(x - before) < 3) continue;
    d.add(svg("path", { d: `M${x - 4},0 H${x + 4} L${x},7 Z`, class: "hop-mark" }, svg("title", {}, hopTold(hop, d.width))));
    if (Math.abs(x - before) >= 12) d.add(svg("line", { x1: x, x2: x, y1: 7, y2: PLOT, class: "hop-line" }));  /* many lines would hide the flow */
    before = x;
  }
}

function hopTold(hop, width) {
  const phases = Object.entries(hop.phases).map(([phase, ms]) => `${phase} after ${lasting(ms)}`);
  const services = Object.entries(hop.outcomes).map(([outcome, n]) => `${many(n, "service")} ${outcome}`);
  return [`Hop ${hop.hop} of ${hop.node} at ${seconds(hop.start, width)}`, `${hop.first} → ${hop.second}`, ...phases, ...services,
    hop.failed && `came to nothing: ${hop.failed}`].filter(Boolean).join("\n");
}

/* A bar from a hop's beginning to its close: faint until the backup session stands, plain until the switch, solid after it. */
function drawHop(d, hop, box, end) {
  const at = (phase) => hop.phases[phase] === undefined ? null : hop.start + hop.phases[phase];
  const prepared = at("prepared"), switched = switchedAt(hop);
  const spans = [["asking", hop.start, prepared ?? end], ["prepared", prepared, switched ?? end], ["switched", switched, end]];
  const parts = [svg("rect", { ...box, rx: 3, class: `hop${hop.failed ? " failed" : ""}${hop.end === null ? " open" : ""}` })];
  for (const [phase, since, until] of spans) {
    if (since === null) continue;
    const x = Math.max(d.x(since), box.x), width = Math.min(d.x(until), box.x + box.width) - x;
    if (width > 0) parts.push(svg("rect", { x, y: box.y, width, height: box.height, rx: 3, class: `hop-part ${phase}` }));
  }
  if (switched !== null && switched >= d.from && switched <= d.to && box.width > 8) {
    const x = d.x(switched);
    parts.push(svg("line", { x1: x, x2: x, y1: box.y - 2, y2: box.y + box.height + 2, class: "hop-switch" }));
  }
  d.add(svg("g", { "data-hop": hop.hop }, ...parts, svg("title", {}, hopTold(hop, d.width))));
  barText(d, `${hop.hop}`, box);
}

function hopTracks(side) {
  const end = side.span[1];
  const nodes = [...new Set(side.hops.lines.map((hop) => hop.node))].sort();
  return nodes.map((node) => {
    const lines = side.hops.lines.filter((hop) => hop.node === node);
    const from = (hop) => hop.start, to = (hop) => hop.end ?? end;
    const closed = lines.filter((hop) => hop.phases.closed !== undefined).map((hop) => hop.phases.closed).sort((a, b) => a - b);
    const note = [many(lines.length, "hop"), closed.length && `closed after ${lasting(closed[closed.length >> 1])}, median`, leftOut(side.hops)].filter(Boolean).join(" · ");
    const track = barTrack(`Hops of ${node}`, note, lines, from, to, (d, hop, box) => drawHop(d, hop, box, to(hop)));
    track.at = (t) => {
      const hop = lines.findLast?.((one) => one.start <= t && to(one) >= t);
      return hop && `${node}: hop ${hop.hop}, ${lasting(t - hop.start)} after its beginning`;
    };
    return track;
  });
}

function addressTracks(side) {
  const [start, end] = side.span;
  const nodes = [...new Set(side.addresses.lines.map((line) => line.node))].sort();
  const from = (line) => line.start ?? start, to = (line) => line.end ?? end;
  return nodes.map((node) => barTrack(`Addresses of ${node}`, leftOut(side.addresses), side.addresses.lines.filter((line) => line.node === node), from, to, (d, line, box) => {
    const told = `${line.address}\n${seconds(from(line))} to ${line.end === null ? "the end" : seconds(line.end)}` +
      (line.deprecated === null ? "" : `, deprecated from ${seconds(line.deprecated)}`);
    d.add(svg("g", {}, svg("rect", { ...box, rx: 3, class: "address" }), svg("title", {}, told)));
    if (line.deprecated !== null) {
      const x = Math.max(d.x(line.deprecated), box.x);
      d.add(svg("rect", { ...box, x, width: Math.max(box.x + box.width - x, 0), rx: 3, class: "deprecated" }));
    }
    barText(d, line.address, box);
  }));
}
