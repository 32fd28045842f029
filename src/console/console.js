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

// The code of an invitation is in the fragment, which browsers do not send. It is moved into
// the form and removed from the address bar.
const invitation = document.querySelector("form[data-invitation]");
if (invitation && location.hash.length > 1) {
  invitation.elements.code.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}

// On a narrow screen the menu scrolls sideways.
document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
