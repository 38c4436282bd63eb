document.addEventListener("click", (event) => {
  const figure = event.target.closest("figure"), told = figure && figure.querySelector(".told");
  if (!told || !event.target.closest("svg")) return;
  const around = [[0, 0], [7, 0], [-7, 0], [0, 7], [0, -7]];  // a finger is wider than a small region
  const under = around.flatMap(([x, y]) => document.elementsFromPoint(event.clientX + x, event.clientY + y));
  const hits = [...new Set(under)].filter((one) => figure.contains(one) && one.querySelector(":scope > title"));
  figure.querySelectorAll(".tapped").forEach((one) => one.classList.remove("tapped"));
  if (hits.length) hits[0].classList.add("tapped");
  told.textContent = hits.slice(0, 3).map((one) => one.querySelector("title").textContent).join("; ") || "nothing here";
});
