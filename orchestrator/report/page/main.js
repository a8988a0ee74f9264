/* Puts the page together from its data: one side, or two beside each other. */

function start() {
  const data = JSON.parse(document.getElementById("data").textContent);
  themeButton();
  for (const side of data.sides) side.zero = (side.traffic ?? side.span)[0];
  const widest = (of) => [Math.min(...data.sides.map((side) => of(side)[0] - side.zero)), Math.max(...data.sides.map((side) => of(side)[1] - side.zero))];
  const roomy = ([low, high], part) => [low - (high - low) * part, high + (high - low) * part];
  const home = roomy(widest((side) => side.traffic ?? side.span), 0.02);
  const whole = roomy(widest((side) => side.span), 0.02);
  const low = Math.min(home[0], whole[0]), begin = Math.max(low, -Math.min(...data.sides.map((side) => side.zero)));  /* no run has a time before 0 */
  const view = new View([begin, Math.max(home[1], whole[1])], [Math.max(home[0], begin), home[1]]);
  const settings = shared(view);
  const parts = { timeline: (side) => timeline(side, view, settings).node, ladder: (side) => ladder(side, settings), sas: saTable, events: (side) => eventList(side, settings) };
  for (const [name, make] of Object.entries(parts)) {
    data.sides.forEach((side, i) => document.getElementById(`${name}-${i}`).append(make(side)));
  }
  for (const button of document.querySelectorAll("button[data-zoom]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const side = data.sides[Number(button.dataset.side)];
      const [from, to] = button.dataset.zoom.split(" ").map(Number);
      view.around(from - side.zero, to - side.zero);
      document.getElementById(`timeline-${button.dataset.side}`).scrollIntoView({ block: "start" });
    });
  }
  document.documentElement.dataset.ready = "true";
}

/* What the parts of the page have in common: delay or rate, and the way from one part to another. */
function shared(view) {
  const listeners = [], buttons = [], targets = new Map();
  const settings = {
    view, what: "delay",
    onChange: (listener) => listeners.push(listener),
    onGoTo: (side, kind, find) => targets.set(`${kind} ${side.index}`, find),
    goTo(side, kind, index) {
      const node = targets.get(`${kind} ${side.index}`)?.(index);
      if (!node) return;
      node.scrollIntoView({ block: "center" });
      node.classList.remove("flash");
      void node.offsetWidth;
      node.classList.add("flash");
      if (node.tagName === "DETAILS") node.open = true;
    },
    toggle() {
      const pair = ["delay", "rate"].map((what) => el("button", { type: "button", "data-what": what, "aria-pressed": String(what === settings.what), onclick: () => settings.choose(what) },
        what === "delay" ? "Delay" : "Deliveries/s"));
      buttons.push(...pair);
      return el("span", { class: "group", role: "group", "aria-label": "What the flows show" }, ...pair);
    },
    choose(what) {
      settings.what = what;
      for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.what === what));
      for (const listener of listeners) listener();
    },
  };
  return settings;
}

function themeButton() {
  const root = document.documentElement, button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Use the ${dark() ? "light" : "dark"} colours`); };
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
  label();
}

start();
