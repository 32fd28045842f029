"use strict";
// The search: mdBook's index, read when somebody first asks for it. Without this script the guide
// works as it is, with its list of contents.
(() => {
  const form = document.getElementById("search");
  const query = document.getElementById("query");
  const found = document.getElementById("found");
  const count = document.getElementById("count");
  const hits = document.getElementById("hits");
  const { elasticlunr: library, index: words } = document.body.dataset;
  let ready = null;

  const load = (src) => new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = src;
    script.onload = done;
    script.onerror = failed;
    document.head.append(script);
  });

  const prepare = async () => {
    window.search = {};
    await load(library);
    await load(words);
    const { index, doc_urls: urls, search_options: options, results_options: results } = window.search;
    return { index: window.elasticlunr.Index.load(index), urls, options, most: results.limit_results };
  };

  // Some words around the first that was asked for.
  const excerpt = (body, asked) => {
    const low = body.toLowerCase();
    const places = asked.map((word) => low.indexOf(word)).filter((at) => at >= 0);
    const first = places.length ? Math.min(...places) : 0;
    const start = first < 60 ? 0 : body.lastIndexOf(" ", first - 40) + 1;
    return (start ? "… " : "") + body.slice(start, start + 180) + (body.length > start + 180 ? " …" : "");
  };

  const line = (hit, urls, asked) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    const where = document.createElement("span");
    const text = document.createElement("p");
    link.href = urls[hit.ref];
    link.textContent = hit.doc.title;
    where.textContent = hit.doc.breadcrumbs.split(" » ").slice(0, -1).join(" › ");
    link.append(where);
    text.textContent = excerpt(hit.doc.body, asked);
    item.append(link, text);
    return item;
  };

  const close = () => { found.hidden = true; };

  const ask = async () => {
    const text = query.value.trim();
    if (!text) return close();
    ready ??= prepare();
    let all;
    try {
      all = await ready;
    } catch {
      ready = null;
      count.textContent = "The search could not be loaded.";
      found.hidden = false;
      return;
    }
    if (query.value.trim() !== text) return;
    const asked = text.toLowerCase().split(/\s+/);
    const best = all.index.search(text, all.options).slice(0, all.most);
    hits.replaceChildren(...best.map((hit) => line(hit, all.urls, asked)));
    count.textContent = best.length ? `${best.length} found` : `Nothing found for “${text}”.`;
    found.hidden = false;
  };

  form.hidden = false;
  query.addEventListener("input", ask);
  query.addEventListener("focus", () => { ready ??= prepare(); ready.catch(() => { ready = null; }); ask(); });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await ask();
    hits.querySelector("a")?.click();
  });
  hits.addEventListener("click", close);
  document.addEventListener("click", (event) => { if (!form.contains(event.target)) close(); });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea");
    if (event.key === "Escape") { close(); query.blur(); }
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) { event.preventDefault(); query.focus(); }
  });

  // Wide blocks scroll, so the keyboard has to reach them.
  for (const block of document.querySelectorAll("pre, .table-wrapper")) {
    if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  }
})();
