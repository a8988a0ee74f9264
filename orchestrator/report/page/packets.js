/* Packets by number: a link opens a panel with the commands that show the packet in Wireshark. */

const quoted = (word) => /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;

/* A path as an address: whatever is in it, it stays a path. */
const address = (path) => path.split("/").map(encodeURIComponent).join("/");

function packet(side, number, text) {
  if (!side.capture || !number) return document.createTextNode(text ?? "");
  return el("a", { class: "packet", href: address(side.base + side.capture), "data-file": side.base + side.capture,
    "data-packet": number, "data-keys": side.keys ? side.base + "keys" : null }, text ?? `#${number}`);
}

function packets(side, range) {
  if (!side.capture || !range) return "";
  const [first, last] = range;
  return el("a", { class: "packet", href: address(side.base + side.capture), "data-file": side.base + side.capture,
    "data-packet": first, "data-last": last, "data-keys": side.keys ? side.base + "keys" : null },
    first === last ? `#${first}` : `#${first}–${last}`);
}

function commandLine(text) {
  const copy = el("button", { type: "button", "data-copy": text }, "Copy");
  return el("div", { class: "command" }, el("code", {}, text), copy);
}

async function copyText(button) {
  const text = button.dataset.copy;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  /* a page opened from a file may not have the clipboard */
    const area = el("textarea", { class: "visually-hidden" });
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  button.textContent = done ? "Copied" : "Select it by hand";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function inspect(link) {
  const { file, packet: first, last, keys } = link.dataset;
  const panel = document.getElementById("inspector");
  const filter = last && last !== first ? `frame.number >= ${first} && frame.number <= ${last}` : `frame.number == ${first}`;
  const profile = keys ? `WIRESHARK_CONFIG_DIR=${quoted(keys)} ` : "";
  panel.replaceChildren(
    el("h2", {}, last && last !== first ? `Packets ${first} to ${last}` : `Packet ${first}`, " of ", el("code", {}, file)),
    el("button", { type: "button", class: "close", onclick: () => close() }, "Close"),
    commandLine(`${profile}wireshark -r ${quoted(file)} -g ${first}`),
    commandLine(`${profile}tshark -r ${quoted(file)} -Y '${filter}'${last && last !== first ? "" : " -V"}`),
    el("p", { class: "soft" }, keys ? "The run's keys stand beside the capture: both commands show it decrypted. "
      : "Without keys: encrypted payloads stay so. ", "Paths are relative to the folder of this page."));
  const close = () => { panel.close(); link.focus(); };
  if (!panel.open) panel.show();
  panel.querySelector(".close").focus();
  panel.onkeydown = (event) => { if (event.key === "Escape") close(); };
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.packet");
  if (link && !event.ctrlKey && !event.metaKey) { event.preventDefault(); inspect(link); }
  const button = event.target.closest("button[data-copy]");
  if (button) copyText(button);
});
