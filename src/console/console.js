// Small help that the pages can do without.
"use strict";

// A page that was left and comes back out of the browser's memory is asked for again:
// whoever signed out sees nothing, and a secret is not shown a second time.
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
    // Without TLS browsers have no clipboard: select it, so that one keystroke copies.
    if (source.select) source.select();
    else getSelection().selectAllChildren(source);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => (button.textContent = word), 2500);
});

for (const input of document.querySelectorAll("[data-select]")) {
  input.addEventListener("focus", () => input.select());
}

// What cannot be undone is not within reach before its name is typed.
for (const form of document.querySelectorAll("form[data-confirm]")) {
  const typed = form.querySelector("[name=confirm]");
  const button = form.querySelector("button[type=submit]");
  const check = () => (button.disabled = typed.value.trim() !== form.dataset.confirm);
  typed.addEventListener("input", check);
  check();
}

// The code of an invitation stands where browsers tell it to nobody. It goes into the
// form, and out of the address bar.
const invitation = document.querySelector("form[data-invitation]");
if (invitation && location.hash.length > 1) {
  invitation.elements.code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

// On a narrow screen the menu scrolls sideways.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
