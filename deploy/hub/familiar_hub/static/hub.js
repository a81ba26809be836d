// What the scripts of these pages share: asking the hub, and building elements from text.
// Names and reasons come from people, so nothing here ever becomes HTML.
"use strict";

window.familiar = {
  // Ask the hub's API. Throws an Error whose message can be shown.
  async ask(method, path, body) {
    const { base_url, xsrf_token } = window.jhdata;
    const headers = { "X-XSRFToken": xsrf_token };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(`${base_url}api/${path}`, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    } catch {
      throw new Error("The hub was not reached. Is the network there?");
    }
    const data = await answer.json().catch(() => ({}));
    if (!answer.ok) {
      throw new Error(data.message || `The hub answered ${answer.status}.`);
    }
    return data;
  },

  // Make an element with attributes and children; strings become text.
  make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) {
      if (key === "onclick") element.addEventListener("click", value);
      else if (value === true) element.setAttribute(key, "");
      else if (value !== false && value !== null) element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  },

  later(seconds) {
    return new Promise((done) => setTimeout(done, 1000 * seconds));
  },
};
