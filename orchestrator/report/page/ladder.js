/* The ladder: IKE messages between the nodes, with what the nodes say of their SAs, and the faults, in place. */

const AT_A_TIME = 150;
const FAULT_NEAR = 50;  /* ms between a fault and the message in the capture that it may be about */

function ladder(side, settings) {
  const { lanes, messages, total } = side.ladder;
  const own = ["child-sa", "ike-sa", "fault"];
  const told = side.events.shown.filter((event) => own.includes(group(event.kind)));
  const rows = [...messages.map((message, index) => ({ t: message.t, message, index })), ...told.map((event) => ({ t: event.t, event }))].sort((a, b) => a.t - b.t);
  if (!rows.length) return el("p", { class: "soft" }, "The capture has no IKE message, and no event tells of one.");
  const names = lanes.length ? lanes : [...new Set(told.map((event) => event.node))];
  const place = (lane) => names.length < 2 ? 50 : 9 + lane * 82 / (names.length - 1);
  const posts = () => names.map((_, lane) => el("i", { class: "post", style: { left: `${place(lane)}%` }, "aria-hidden": "true" }));
  const list = el("div", { role: "list", "aria-label": "IKE messages and SA events in the order of time" });
  const more = el("button", { type: "button" });
  const context = { side, names, place, posts, faults: told.filter((event) => event.kind === "fault.applied") };
  const state = { next: 0, exchange: null, sizes: sizes(messages) };

  function show(until) {
    for (; state.next < Math.min(until, rows.length); state.next += 1) {
      const { message, event, index } = rows[state.next];
      if (message && message.k !== state.exchange) {
        state.exchange = message.k;
        list.append(exchange(message, state.sizes.get(message.k)));
      }
      list.append(message ? rung(context, message, index) : beside(context, event));
    }
    more.textContent = `Show ${Math.min(AT_A_TIME, rows.length - state.next)} more of ${rows.length - state.next}`;
    more.hidden = state.next >= rows.length;
  }

  more.addEventListener("click", () => show(state.next + AT_A_TIME));
  show(AT_A_TIME);
  settings.onGoTo(side, "message", (index) => {
    show(rows.findIndex((row) => row.index === index) + 10);
    return list.querySelector(`[data-index="${index}"]`);
  });
  const head = el("div", { class: "lanes", "aria-hidden": "true" }, el("span", { class: "when" }), el("span", { class: "which" }),
    el("div", { class: "field" }, ...names.map((name, lane) => el("b", { class: name.length > 8 ? edge(lane, names) : "", style: { left: `${place(lane)}%` } }, name))));
  const left = total > messages.length && el("p", { class: "hint" }, `${count(total)} messages in all; the first and the last ones and those that repeat are shown. All of them: `,
    el("code", {}, `tshark -r ${quoted(side.base + side.capture)} -Y isakmp`));
  return el("div", { class: "ladder" }, left, head, list, el("div", { class: "more" }, more));
}

const edge = (lane, names) => lane === 0 && names.length > 1 ? "first" : lane === names.length - 1 && lane ? "last" : "";

function sizes(messages) {
  const found = new Map();
  for (const message of messages) {
    const known = found.get(message.k) ?? { first: message, last: message, n: 0, repeats: 0 };
    known.n += 1; known.last = message;
    if (message.again) known.repeats += 1;
    found.set(message.k, known);
  }
  return found;
}

const messageId = (message) => message.v === 1 ? message.id.toString(16).padStart(8, "0") : String(message.id);

function exchange(message, size) {
  const spis = message.v === 1 ? "cookies" : "SPIs";
  return el("div", { class: "exchange", role: "listitem" }, el("strong", {}, message.x), el("span", {}, `IKEv${message.v}`),
    el("span", { class: "soft" }, "message ID ", el("code", {}, messageId(message))),
    el("span", { class: "soft" }, `${many(size.n, "message")} in ${lasting(size.last.t - size.first.t)}`),
    size.repeats ? el("span", { class: "outcome fail" }, many(size.repeats, "repeat")) : null,
    el("span", { class: "soft" }, `${spis} `, el("code", {}, `${message.i.slice(0, 8)}… ${size.last.r.slice(0, 8)}…`)));
}

function payloads(message) {
  const short = [];
  for (const name of message.has) {
    const plain = name.replace(/NAT_DETECTION_(SOURCE|DESTINATION)_IP/, (_, end) => end === "SOURCE" ? "NATD_S" : "NATD_D");
    const last = short.at(-1);
    if (last && last.name === plain) last.n += 1; else short.push({ name: plain, n: 1 });
  }
  return short.map(({ name, n }) => n > 1 ? `${n}×${name}` : name).join(", ");
}

function rung(context, message, index) {
  const { side, names, place, posts, faults } = context;
  const rightwards = message.to >= message.from;
  const [a, b] = [place(Math.min(message.from, message.to)), place(Math.max(message.from, message.to))];
  const fault = faults.find((event) => isAbout(event, message));
  const again = message.again ? `repeats #${message.again} after ${lasting(message.after)}` : "";
  const summary = el("summary", { class: "rung" },
    el("span", { class: "when" }, seconds(message.t, 100)), el("span", { class: "which" }, packet(side, message.n)),
    el("span", { class: "field" }, ...posts(),
      el("span", { class: "says", style: { left: `${a}%`, width: `${b - a}%` } },
        el("span", { class: "visually-hidden" }, `${names[message.from]} to ${names[message.to]}: `),
        el("b", {}, `${message.x} ${message.no}`), el("span", { class: "payloads" }, payloads(message)),
        message.problem ? el("span", { class: "badge" }, "malformed") : null,
        again ? el("span", { class: "badge" }, `↻ ${again}`) : null, fault ? el("span", { class: "badge" }, `✕ ${fault.data.action ?? "fault"}`) : null),
      el("span", { class: `arrow ${rightwards ? "right" : "left"}`, style: { left: `${a}%`, width: `${b - a}%` }, "aria-hidden": "true" })));
  const fields = [["Packet", el("span", {}, packet(side, message.n), ` of ${side.capture}`)],
    ["From", `${names[message.from]}, port ${message.ports[0]}`], ["To", `${names[message.to]}, port ${message.ports[1]}`],
    ["Exchange", `${message.x}, message ${message.no}, message ID ${messageId(message)}`],
    [message.v === 1 ? "Initiator's cookie" : "Initiator's SPI", el("code", {}, message.i)], [message.v === 1 ? "Responder's cookie" : "Responder's SPI", el("code", {}, message.r)],
    ["Payloads", message.has.join(", ") || "none"], ["Length", many(message.size, "octet")]];
  if (again) fields.push(["Repeats", el("span", {}, "packet ", packet(side, message.again), ` after ${lasting(message.after)}, octet for octet`)]);
  if (message.problem) fields.push(["Malformed", message.problem]);
  if (fault) fields.push(["Fault", fault.data.rule ?? fault.kind]);
  return el("details", { class: `message${message.again ? " again" : ""}`, "data-index": index, role: "listitem" }, summary,
    el("dl", {}, ...fields.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
}

function isAbout({ t, data }, message) {
  const id = data.message_id === undefined ? message.id : Number.parseInt(data.message_id, 16);
  return Math.abs(t - message.t) < FAULT_NEAR && id === message.id && Number(data.message) === message.no && sameWords(data.exchange, message.x);
}

/* Whether a fault's word for an exchange, such as quick-mode, means the exchange of this name. */
const sameWords = (word, name) => typeof word === "string" && word.replaceAll(/[-_ ]/g, "").toLowerCase().replace(/^ike(?=sainit|auth)/, "") ===
  name.replaceAll(/[-_ ]/g, "").toLowerCase().replace(/^ike(?=sainit|auth)/, "");

function beside(context, event) {
  const { side, names, place, posts } = context;
  const lane = names.indexOf(event.node);
  const kind = group(event.kind);
  const where = lane < 0 ? "middle" : edge(lane, names);
  return el("div", { class: "aside-row", role: "listitem", "data-kind": event.kind }, el("span", { class: "when" }, seconds(event.t, 100)), el("span", { class: "which" }),
    el("div", { class: "field" }, ...posts(), el("span", { class: `chip ${kind} ${where}`, style: { left: `${place(Math.max(lane, 0))}%` }, title: JSON.stringify(event.data) },
      `${kind === "fault" ? "✕ " : ""}${told(event)}`, el("span", { class: "visually-hidden" }, ` at ${event.node || "the testbed"}`))));
}

function told(event) {
  const { data, kind } = event;
  const what = kind.split(".")[1];
  if (group(kind) === "fault") return [what === "applied" ? null : what, data.rule, data.reason].filter(Boolean).join(": ");
  const sa = what === "rekeyed" && data.new ? data.new : data;
  const spis = group(kind) === "child-sa" ? ` in ${sa.spi_in ?? "?"} out ${sa.spi_out ?? "?"}` : "";
  return `${group(kind) === "child-sa" ? "CHILD_SA" : "IKE SA"} ${what} ${sa.name ?? ""}{${sa.unique_id ?? ""}}${spis}`;
}
