// The text of a rule file, rule by rule: where each stands, so that one can be edited by itself. No page, no state.

const NO_RULES = new Set(["tests", "templates", "quantities"]);

/** Each rule of a draft in its order: `{name, begin, end}`, lines from `begin` until before `end`. */
export function rulesIn(text) {
  const lines = text.split("\n");
  const indent = (line) => line.search(/\S/);
  const found = [];
  let section = "";
  for (let i = 0; i < lines.length; i += 1) {
    section = /^([a-z_]+):/.exec(lines[i])?.[1] ?? section;
    const name = NO_RULES.has(section) ? null : /(?:^\s*(?:-\s+)?|[{,]\s*)name:\s*["']?([\w.-]+)/.exec(lines[i])?.[1];
    if (!name) continue;
    let begin = i;
    while (begin > 0 && !/^\s*-\s/.test(lines[begin])) begin -= 1;
    let end = i + 1;
    while (end < lines.length && (lines[end].trim() === "" || indent(lines[end]) > indent(lines[begin]))) end += 1;
    while (lines[end - 1].trim() === "") end -= 1;
    while (begin > 0 && /^\s*#/.test(lines[begin - 1])) begin -= 1;
    found.push({ name, begin, end });
  }
  return found;
}

/** The lines of one rule, with what is said above it; null when the draft has no such rule. */
export function ruleText(text, name) {
  const one = rulesIn(text).find((rule) => rule.name === name);
  return one ? text.split("\n").slice(one.begin, one.end).join("\n") : null;
}

/** The draft with other lines in the place of the rule's; `before` says what stood there. */
export function withRule(text, before, after) {
  const at = text.indexOf(before);
  return at < 0 ? text : text.slice(0, at) + after + text.slice(at + before.length);
}
