// Looks at a page for the tests: at what is shown, and not at how it came there. Loaded into every page.

window.looking = (() => {
  const LIVE = '[aria-live], [role=log], [role=status], [role=alert]';
  let samples = null;

  // Note what a cell's output looks like with every frame in which that has changed.
  function watch(index) {
    const cell = document.querySelectorAll('.jp-Notebook .jp-Cell')[index];
    const scroller = document.querySelector('.jp-WindowedPanel-outer');
    const began = performance.now();
    const mine = samples = [];
    let before = '';
    const look = () => {
      if (samples !== mine) return;
      const area = cell.querySelector('.jp-Cell-outputArea');
      const block = [...cell.querySelectorAll('details')].pop();
      const outputs = [...cell.querySelectorAll('.jp-RenderedMarkdown')];
      const words = outputs.map(each => each.cloneNode(true));
      words.forEach(each => each.querySelectorAll('details').forEach(inner => inner.remove()));
      const seen = {
        height: area ? area.getBoundingClientRect().height : 0,
        scroll: scroller ? scroller.scrollTop : 0,
        text: words.map(each => each.textContent.trim()).join('\n'),
        outputs: outputs.length,
        formulas: cell.querySelectorAll('mjx-container').length,
        thinking: block?.querySelector('summary')?.textContent || '',
        is_open: !!block?.open,
        is_live: !!area?.closest(LIVE) || !!area?.querySelector(LIVE),
      };
      const now = JSON.stringify(seen);
      if (now !== before) mine.push({at: performance.now() - began, ...seen});
      before = now;
      requestAnimationFrame(look);
    };
    look();
  }

  function watched() {
    const seen = samples;
    samples = null;
    return seen;
  }

  function* textNodes(element) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const seen = node.parentElement.checkVisibility();
      if (node.textContent.trim() && seen && !node.parentElement.closest('mjx-assistive-mml')) yield node;
    }
  }

  const brush = document.createElement('canvas').getContext('2d', {willReadFrequently: true});

  // A colour in any notation, as red, green and blue from 0 to 255 and opacity from 0 to 1.
  function rgba(colour) {
    brush.clearRect(0, 0, 1, 1);
    brush.fillStyle = colour;
    brush.fillRect(0, 0, 1, 1);
    const [red, green, blue, alpha] = brush.getImageData(0, 0, 1, 1).data;
    return [red, green, blue, alpha / 255];
  }

  function laidOver(top, below) {
    return below.map((part, index) => top[index] * top[3] + part * (1 - top[3]));
  }

  function luminance(colour) {
    const [red, green, blue] = colour.map(part => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  }

  // Each piece of text with its contrast, as the Web Content Accessibility Guidelines reckon it.
  function contrasts(element) {
    return [...textNodes(element)].map(node => {
      const grounds = [];
      let opacity = 1;
      for (let each = node.parentElement; each; each = each.parentElement) {
        const style = getComputedStyle(each);
        grounds.unshift(rgba(style.backgroundColor));
        opacity *= Number(style.opacity);
      }
      const ground = grounds.reduce((below, top) => laidOver(top, below), [255, 255, 255]);
      const ink = rgba(getComputedStyle(node.parentElement).color);
      ink[3] *= opacity;
      const [dark, light] = [luminance(laidOver(ink, ground)), luminance(ground)].sort((a, b) => a - b);
      return [node.textContent.trim(), (light + 0.05) / (dark + 0.05)];
    });
  }

  // The words that begin in one line and end in another.
  function cutWords(element) {
    const cut = [];
    for (const node of textNodes(element)) {
      for (const word of node.textContent.matchAll(/[\p{L}\p{N}_]+/gu)) {
        const range = document.createRange();
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const boxes = [...range.getClientRects()].filter(box => box.width);
        if (new Set(boxes.map(box => Math.round(box.top))).size > 1) cut.push(word[0]);
      }
    }
    return cut;
  }

  // The colour of the first piece of text in an element.
  function firstColour(element) {
    const first = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode();
    return getComputedStyle(first.parentElement).color;
  }

  // What is in front: with the server's expose_app_in_browser, JupyterLab itself can be asked.
  function current() {
    return window.jupyterapp?.shell.currentWidget;
  }

  function kernelIsIdle() {
    const kernel = current()?.sessionContext?.session?.kernel;
    return kernel?.connectionStatus === 'connected' && kernel.status === 'idle';
  }

  function isSaved() {
    return current()?.context?.model.dirty === false;
  }

  // How high the cells of the notebook are together.
  function height() {
    return document.querySelector('.jp-WindowedPanel-inner').scrollHeight;
  }

  function goToTop() {
    document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0;
  }

  return {
    watch, watched, contrasts, cutWords, firstColour, kernelIsIdle, isSaved, height, goToTop,
  };
})();
