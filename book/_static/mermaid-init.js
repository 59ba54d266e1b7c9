// Draws every diagram in the colours of the page, and again whenever those change.
(() => {
  const root = document.documentElement;
  const source = new Map(
    [...document.querySelectorAll("pre.mermaid")].map((block) => [block, block.textContent]),
  );
  let drawings = 0;

  async function draw() {
    const theme = root.dataset.theme === "dark" ? "dark" : "neutral";
    mermaid.initialize({ startOnLoad: false, securityLevel: "strict", theme });
    for (const [block, text] of source) {
      const { svg } = await mermaid.render(`mermaid-drawing-${drawings++}`, text);
      block.innerHTML = svg;
      block.dataset.drawn = theme;
    }
  }

  // One drawing after the other: mermaid cannot draw two at once.
  let queue = Promise.resolve();
  const redraw = () => {
    queue = queue.then(draw).catch((error) => console.error("mermaid:", error));
  };
  new MutationObserver(redraw).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
  redraw();
})();
