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

// `/` goes to the search of the page, or to that of the keys.
addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const search = document.querySelector("[type=search]");
  if (search) search.focus();
  else if (document.querySelector("nav a[href='/console/keys']")) location.href = "/console/keys";
});

// The code of an invitation is in the fragment, which browsers do not send. It is moved into
// the form and removed from the address bar.
const invitation = document.querySelector("form[data-invitation]");
if (invitation && location.hash.length > 1) {
  invitation.elements.code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

// On a narrow screen the menu scrolls sideways.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
