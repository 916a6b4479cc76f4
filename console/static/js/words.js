// The words of the page: one dictionary per language, the same files that the server reads.

let words = {};
let language = "zh";

export async function loadWords(which) {
  const answer = await fetch(`/static/words/${which}.json`);
  words = await answer.json();
  language = which;
  document.documentElement.lang = which === "en" ? "en" : "zh-CN";
  document.cookie = `fengsui_lang=${which};path=/;max-age=31536000;samesite=lax`;
  for (const node of document.querySelectorAll("[data-w]")) node.textContent = t(node.dataset.w);
  for (const node of document.querySelectorAll("[data-w-placeholder]")) node.placeholder = t(node.dataset.wPlaceholder);
  for (const node of document.querySelectorAll("[data-w-label]")) node.setAttribute("aria-label", t(node.dataset.wLabel));
}

export const currentLanguage = () => language;

/** The sentence `key`, with {names} filled in. */
export function t(key, values = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (_all, name) => String(values[name] ?? ""));
}

/** A quantity in words where we have one, else as the registry names it. */
export const quantity = (name) => words[`quantity.${name}`] ?? name;

/** One of two texts that came with the data. */
export const either = (zh, en) => (language === "en" ? en || zh : zh || en) || "";
