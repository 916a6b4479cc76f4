// Building elements. Text enters as text only; there is no way here to give HTML.

// Every class has its own silhouette, so that it is told apart without colour at 12 px.
const PATHS = {
  fire: [["M1 1h14v14H1zM8.3 2.6c.5 2.3 3.5 3.5 3.500 6.600a3.800 3.800 0 0 1-7.600 0c0-1.600.7-2.600 1.500-3.400.1 1.100.5 1.700 1.200 1.900-.3-2 .3-3.900 1.400-5.100z"]],
  prealarm: [["M8 .8 15.700 15H.3zM7.200 5.600h1.600v5H7.200zm0 6h1.600v1.700H7.200z"]],
  supervisory: [["M4.400 1.300h7.200L15.400 8l-3.800 6.700H4.400L.6 8zM8 5.200a2.800 2.800 0 1 0 0 5.600 2.800 2.800 0 0 0 0-5.600z"]],
  fault: [["M8 .3 15.700 8 8 15.700.3 8zM5.900 4.900 4.900 5.900 7 8l-2.100 2.100 1 1L8 9l2.100 2.100 1-1L9 8l2.100-2.100-1-1L8 7z"]],
  disablement: [["M8 .8a7.200 7.200 0 1 1 0 14.400A7.200 7.200 0 0 1 8 .8zm0 1.700a5.500 5.500 0 0 0-4.300 8.900l7.700-7.700A5.400 5.400 0 0 0 8 2.500zm4.300 2.100-7.700 7.700a5.500 5.500 0 0 0 7.700-7.700z"]],
  technical: [["M2 2h12v12H2zM5 8h6M8 5v6", 1.6]],
  security: [["M8 1 14 3v5c0 3.500-2.500 5.800-6 7-3.500-1.200-6-3.500-6-7V3z", 1.6]],
  silent: [["M8 1.300a6.700 6.700 0 1 1 0 13.400A6.700 6.700 0 0 1 8 1.300z", 1.6, "2.4 1.8"], ["M7.200 11.200h1.700v1.600H7.200zM5.600 6.200C5.600 4.700 6.600 3.700 8.100 3.700s2.400.9 2.400 2.200c0 1-.5 1.500-1.200 2-.6.5-.7.8-.7 1.700H7.300c0-1.300.2-1.800 1-2.400.6-.5.8-.7.8-1.200 0-.6-.4-1-1-1-.7 0-1.100.4-1.100 1.200z"]],
  test: [["M1.200 1.200h13.600v13.600H1.200z", 1.5, "2 1.700"], ["M4.600 5h6.800M8 5v6.800", 1.5]],
  ok: [["M8 5a3 3 0 1 1 0 6 3 3 0 0 1 0-6z", 1.4]],
  broken: [["M8 .3 15.700 8 8 15.700.3 8zM5.900 4.900 4.900 5.900 7 8l-2.100 2.100 1 1L8 9l2.100 2.100 1-1L9 8l2.100-2.100-1-1L8 7z"]],
  sound: [["M1.500 5.500H4L8 2v12l-4-3.500H1.500zM10 5.300a3.700 3.700 0 0 1 0 5.400l.9 1a5 5 0 0 0 0-7.400zm2-2.200a6.700 6.700 0 0 1 0 9.800l1 1a8.100 8.100 0 0 0 0-11.800z"]],
  mute: [["M1.500 5.500H4L8 2v12l-4-3.500H1.500z"], ["m10.300 5.800 4.400 4.400m0-4.400-4.400 4.400", 1.6]],
  link: [["M1 12h2.400v3H1zm4.200-3h2.400v6H5.200zm4.200-4h2.400v10H9.400zM13.600 1H16v14h-2.400z"]],
  cut: [["M1 12h2.400v3H1zm4.200-3h2.400v6H5.200zm4.200-4h2.400v10H9.400zM13.600 1H16v14h-2.400z", 0, "", 0.45], ["M1 1.500 15 15", 2.2]],
  search: [["M6.700 2a4.700 4.700 0 1 1 0 9.400 4.700 4.700 0 0 1 0-9.400zM10.300 10.300l4.500 4.500", 1.7]],
  tower: [["M6.200 5.500h3.600l1.900 9.700H4.300zM5 4.300h6v.9H5zM8.100.3c.3 1 1.500 1.500 1.500 2.700a1.600 1.600 0 0 1-3.200 0c0-.6.3-1 .6-1.300.1.500.3.700.5.800-.1-.9.1-1.700.6-2.200z"]],
};
const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element: `h("b", "num", "text")`, `h("button", {class, type, onclick}, child, ...)`. */
export function h(tag, given, ...children) {
  const node = document.createElement(tag);
  if (typeof given === "string") node.className = given;
  else {
    for (const [key, value] of Object.entries(given || {})) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "class") node.className = value;
      else node.setAttribute(key, value === true ? "" : value);
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** The same of a drawing: `svg("rect", {x, y}, child, ...)`. */
export function svg(tag, given, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(given)) node.setAttribute(key, value);
  node.append(...children.flat(Infinity).filter((child) => child !== null));
  return node;
}

export function icon(name, more = "") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", `ic ${more}`);
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("fill", "currentColor");
  for (const [d, width, dashes, opacity] of PATHS[name] || PATHS.ok) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    if (width) {
      path.setAttribute("fill", "none");
      path.setAttribute("stroke", "currentColor");
      path.setAttribute("stroke-width", width);
      if (dashes) path.setAttribute("stroke-dasharray", dashes);
    } else path.setAttribute("fill-rule", "evenodd");
    if (opacity) path.setAttribute("opacity", opacity);
    svg.append(path);
  }
  return svg;
}

/** Set text only if it differs: no layout for a tick that changes nothing. */
export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function fill(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}
