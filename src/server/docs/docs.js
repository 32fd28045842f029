// The search in the list of operations; the page works without it.
"use strict";

const search = document.getElementById("search");
const lines = [...document.querySelectorAll(".side li")];
const none = document.querySelector(".none");

search.parentElement.hidden = false;

const look = () => {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let found = 0;
  for (const line of lines) {
    const text = line.dataset.words;
    line.hidden = !words.every((word) => text.includes(word));
    if (!line.hidden) found += 1;
  }
  for (const group of document.querySelectorAll(".side [data-group]")) {
    group.hidden = !group.querySelector("li:not([hidden])");
  }
  none.hidden = found > 0;
};

search.addEventListener("input", look);
search.addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  lines.find((line) => !line.hidden)?.querySelector("a").click();
});

addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  search.focus();
});

look();
