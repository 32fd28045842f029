// Small conveniences; the pages work without them.
"use strict";

// Reloads a page that the browser restores from its back/forward cache: after signing out nothing
// is visible, and a secret is not shown a second time.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const text = "value" in source ? source.value : source.textContent;
  const word = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // Without TLS, browsers offer no clipboard: select the text, so that one keystroke copies it.
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (button.textContent = word), 2500);
});

for (const input of document.querySelectorAll("[data-select]")) {
  input.addEventListener("focus", () => input.select());
}

// Buttons for what cannot be undone are disabled until the name is typed.
for (const form of document.querySelectorAll("form[data-confirm]")) {
  const typed = form.querySelector("[name=confirm]");
  const button = form.querySelector("button[type=submit]");
  const check = () => (button.disabled = typed.value.trim() !== form.dataset.confirm);
  typed.addEventListener("input", check);
  check();
}

// Several keys are chosen at once. The buttons show once there is something to do.
for (const form of document.querySelectorAll("form[data-bulk]")) {
  const all = form.querySelector("[data-all]");
  const boxes = [...form.querySelectorAll("[name=id]")];
  const label = form.querySelector("[data-count]");
  const word = label.textContent;
  const count = () => {
    const n = boxes.filter((box) => box.checked).length;
    all.checked = n > 0 && n === boxes.length;
    all.indeterminate = n > 0 && n < boxes.length;
    label.textContent = n ? `${n} ${label.dataset.count}` : word;
    form.classList.toggle("is-none", !n);
  };
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    count();
  });
  form.addEventListener("change", count);
  count();
}

// Of a key that is pasted into a search, only the id is sent.
for (const form of document.querySelectorAll("form[role=search]")) {
  form.addEventListener("submit", () => {
    for (const input of form.querySelectorAll("[name=search]")) {
      input.value = input.value.trim().replace(/^ks_.*_([0-9A-Za-z]{10})[0-9A-Za-z]*$/, "$1");
    }
  });
}

// A bar of a chart leads where its row in the table below does.
document.addEventListener("click", (event) => {
  const bar = event.target.closest("[data-to]");
  if (bar) location.href = bar.dataset.to;
});

// After a change, the page says on how many Envoys it is in force until it is on all of them.
for (const line of document.querySelectorAll("[data-proof]")) {
  const until = Date.now() + 60_000;
  const look = async () => {
    try {
      const answer = await fetch(line.dataset.proof);
      const { words, done } = await answer.json();
      if (line.textContent !== words) line.textContent = words;
      if (done) return;
    } catch {
      return;
    }
    if (Date.now() < until) setTimeout(look, 250);
  };
  look();
}

// Going anywhere by a few letters, above any page. Without the script it is a page of its own.
const opener = document.querySelector("[data-go]");
let palette = null;

const made = (name, properties, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const openPalette = () => {
  if (!palette) palette = makePalette();
  palette.input.value = "";
  palette.dialog.showModal();
  palette.look();
};

const makePalette = () => {
  const input = made("input", { type: "text", id: "go", autocomplete: "off", spellcheck: false, placeholder: "A page, a client, a key" });
  const list = made("div", { id: "places", className: "places" });
  const said = made("p", { className: "soft" });
  const dialog = made("dialog", { className: "palette" }, input, list, said);
  for (const [name, value] of [["role", "combobox"], ["aria-label", "Go to"], ["aria-controls", "places"], ["aria-expanded", "true"], ["aria-autocomplete", "list"]]) {
    input.setAttribute(name, value);
  }
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "Places");
  said.setAttribute("role", "status");
  dialog.setAttribute("aria-label", "Go to");
  document.body.append(dialog);
  let asked = 0;
  const options = () => [...list.children];
  const choose = (one) => {
    for (const option of options()) option.setAttribute("aria-selected", option === one ? "true" : "false");
    if (one) {
      input.setAttribute("aria-activedescendant", one.id);
      one.scrollIntoView({ block: "nearest" });
    } else input.removeAttribute("aria-activedescendant");
  };
  const chosen = () => list.querySelector("[aria-selected=true]");
  const look = async () => {
    const mine = ++asked;
    try {
      const answer = await fetch(`/console/go.json?search=${encodeURIComponent(input.value.trim())}`);
      const places = answer.ok ? await answer.json() : [];
      // Of two answers, that to the last question counts.
      if (mine !== asked) return;
      list.replaceChildren(
        ...places.map((place, n) => {
          const link = made("a", { href: place.target, id: `place-${n}`, tabIndex: -1 },
            made("span", { textContent: place.word }), " ",
            made("span", { className: "soft", textContent: [place.kind, place.more].filter(Boolean).join(" · ") }));
          link.setAttribute("role", "option");
          return link;
        }),
      );
      said.textContent = places.length ? "↑ ↓ to choose, Enter to open, Esc to close" : "Nothing has that in its name.";
      choose(list.firstElementChild);
    } catch {
      if (mine === asked) said.textContent = "The server does not answer.";
    }
  };
  let soon;
  input.addEventListener("input", () => {
    // Enter means what is shown for what was typed, not for what was typed before.
    list.replaceChildren();
    clearTimeout(soon);
    soon = setTimeout(look, 120);
  });
  input.addEventListener("keydown", (event) => {
    const all = options();
    const at = all.indexOf(chosen());
    if (event.key === "ArrowDown") choose(all[(at + 1) % all.length]);
    else if (event.key === "ArrowUp") choose(all[(at - 1 + all.length) % all.length]);
    else if (event.key === "Enter") chosen()?.click();
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  return { dialog, input, look };
};

// On a Mac the keys are called otherwise.
if (opener && /Mac|iPhone|iPad/.test(navigator.platform)) opener.querySelector("kbd").textContent = "⌘K";

opener?.addEventListener("click", (event) => {
  event.preventDefault();
  openPalette();
});

addEventListener("keydown", (event) => {
  if (!opener || event.altKey) return;
  if (event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    if (palette?.dialog.open) palette.dialog.close();
    else openPalette();
    return;
  }
  // `/` goes to the search of the page, or to everything.
  const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const search = document.querySelector("main [type=search]");
  if (search) search.focus();
  else openPalette();
});

// Through a list by keyboard: arrows go from row to row, `x` chooses a row.
document.addEventListener("keydown", (event) => {
  const row = event.target.closest?.(".list tbody tr");
  if (!row || !event.target.matches("a, [name=id]")) return;
  const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  if (step) {
    const next = row[step]?.querySelector("a");
    if (!next) return;
    event.preventDefault();
    next.focus();
  } else if (event.key === "x") {
    row.querySelector("[name=id]")?.click();
  }
});

// The editor: numbers follow the lines, Enter keeps the indentation, and mistakes are a key away.
for (const form of document.querySelectorAll("form[data-editor]")) {
  const text = form.querySelector("textarea");
  const numbers = form.querySelector(".numbers");
  const goTo = (line) => {
    const lines = text.value.split("\n");
    const start = lines.slice(0, line - 1).reduce((sum, l) => sum + l.length + 1, 0);
    text.focus({ preventScroll: true });
    text.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
    numbers.children[line - 1]?.scrollIntoView({ block: "center" });
  };
  const count = () => {
    const lines = text.value.split("\n").length;
    while (numbers.childElementCount > lines) numbers.lastElementChild.remove();
    while (numbers.childElementCount < lines) {
      numbers.append(made("div", { textContent: numbers.childElementCount + 1 }));
    }
    text.rows = Math.max(24, lines + 3);
  };
  text.addEventListener("input", count);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.isComposing) {
      const before = text.value.slice(0, text.selectionStart).split("\n").at(-1);
      const indent = before.match(/^ */)[0];
      if (!indent) return;
      event.preventDefault();
      // Unlike setting the value, this can be undone.
      document.execCommand("insertText", false, `\n${indent}`);
    }
  });
  form.addEventListener("click", (event) => {
    const link = event.target.closest("[data-line]");
    if (!link) return;
    event.preventDefault();
    goTo(Number(link.dataset.line));
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(form.querySelector("[value=check]"));
    } else if (event.key === "F8") {
      event.preventDefault();
      const lines = [...form.querySelectorAll("[data-line]")].map((a) => Number(a.dataset.line));
      const at = text.value.slice(0, text.selectionStart).split("\n").length;
      const next = lines.find((line) => line > at) ?? lines[0];
      if (next) goTo(next);
    }
  });
  count();
}

// The code of an invitation is in the fragment, which browsers do not send. It is moved into
// the form and removed from the address bar.
const invitation = document.querySelector("form[data-invitation]");
if (invitation && location.hash.length > 1) {
  invitation.elements.code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

// On a narrow screen the menu scrolls sideways.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
