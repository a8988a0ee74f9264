/* The list of events, filtered by words and kinds, and the table of SAs. */

const EVENTS_AT_A_TIME = 120;

function brief(data) {
  return Object.entries(data).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(" · ");
}

function eventRow(side, event, index) {
  const text = brief(event.data);
  return el("div", { class: `event ${group(event.kind)}`, role: "listitem", "data-index": index },
    el("span", { class: "when", title: event.n ? `after packet ${event.n}` : null }, seconds(event.t)), el("span", { class: "who" }, event.node || "testbed"), el("span", { class: "kind" }, event.kind),
    el("span", { class: "data" }, text ? el("details", {}, el("summary", {}, text), el("pre", {}, JSON.stringify(event.data, null, 2)),
      event.n ? el("span", {}, "after packet ", packet(side, event.n)) : null) : ""));
}

function eventList(side, settings) {
  const { shown, total } = side.events;
  const kinds = [...new Set(shown.map((event) => group(event.kind)))].sort();
  const chosen = new Set();
  const list = el("div", { role: "list", "aria-label": "Events" });
  const more = el("button", { type: "button" });
  const found = el("span", { class: "soft", role: "status" });
  const words = el("input", { type: "search", placeholder: "Filter: words in a node, a kind or its data", "aria-label": "Filter events" });
  let matching = [], next = 0;

  function show(until) {
    for (; next < Math.min(until, matching.length); next += 1) list.append(eventRow(side, shown[matching[next]], matching[next]));
    more.textContent = `Show ${Math.min(EVENTS_AT_A_TIME, matching.length - next)} more of ${matching.length - next}`;
    more.hidden = next >= matching.length;
  }

  function filter() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    matching = [];
    shown.forEach((event, index) => {
      if (chosen.size && !chosen.has(group(event.kind))) return;
      const text = `${event.node} ${event.kind} ${wanted.length ? JSON.stringify(event.data) : ""}`.toLowerCase();
      if (wanted.every((word) => text.includes(word))) matching.push(index);
    });
    list.replaceChildren();
    next = 0;
    show(EVENTS_AT_A_TIME);
    found.textContent = `${count(matching.length)} of ${many(total, "event")}${total > shown.length ? `, of which ${count(shown.length)} are on this page` : ""}`;
  }

  const buttons = kinds.map((kind) => el("button", { type: "button", "aria-pressed": "false", onclick(event) {
    if (chosen.delete(kind)) event.target.setAttribute("aria-pressed", "false");
    else { chosen.add(kind); event.target.setAttribute("aria-pressed", "true"); }
    filter();
  } }, kind));
  words.addEventListener("input", filter);
  more.addEventListener("click", () => show(next + EVENTS_AT_A_TIME));
  filter();
  settings.onGoTo(side, "event", (index) => {
    if (!matching.includes(index)) { words.value = ""; chosen.clear(); for (const button of buttons) button.setAttribute("aria-pressed", "false"); filter(); }
    show(matching.indexOf(index) + 10);
    return list.querySelector(`[data-index="${index}"]`);
  });
  return el("div", {}, el("div", { class: "filters" }, words, ...buttons, found), list, el("div", { class: "more" }, more));
}

function wire(side, use) {
  return use ? el("span", {}, `${count(use.packets)}: `, packet(side, use.first), " to ", packet(side, use.last)) : "none";
}

function moment(line) {
  return line.effective === null ? "" : el("span", {}, el("span", { class: "whole" }, seconds(line.effective)), " ", el("span", { class: "soft" }, line.trigger));
}

function saTable(side) {
  const { lines, total } = side.sas;
  if (!lines.length) return el("p", { class: "soft" }, "No node told of an SA.");
  const cell = (label, ...content) => el("td", { "data-label": label }, ...content);
  const rows = lines.map((line) => el("tr", {}, el("th", { scope: "row", class: "whole" }, `${line.kind === "child" ? "CHILD_SA" : "IKE SA"} ${line.name}`), cell("node", el("span", { class: "whole" }, line.node)),
    cell(line.kind === "child" ? "in, out" : "initiator, responder", el("code", {}, line.in), " ", el("code", {}, line.out)),
    cell("from", el("span", { class: "whole" }, line.start === null ? "before" : seconds(line.start))), cell("effective", moment(line)), cell("until", line.end === null ? "the end" : `${seconds(line.end)} `, el("span", { class: "soft" }, line.by.slice(line.by.indexOf(".") + 1))),
    cell("sent under it", line.kind === "child" ? wire(side, line.used) : ""), cell("algorithms", el("span", { class: "soft" }, line.detail))));
  return el("details", { open: lines.length <= 16 }, el("summary", {}, `${many(total, "SA")}${total > lines.length ? `, of which ${count(lines.length)} are on this page` : ""}`),
    el("div", { class: "scroll" }, el("table", { class: "stack" }, el("thead", {}, el("tr", {}, ...["SA", "Node", "SPIs", "From", "Effective", "Until", "ESP sent under it", "Algorithms"].map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...rows))));
}
