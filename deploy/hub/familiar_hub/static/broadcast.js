// The page of broadcasts: writes one, follows it, and shows those of the past.
"use strict";

(function () {
  const { ask, make, later } = window.familiar;
  const get = (id) => document.getElementById(id);
  const longest = Number(get("broadcast").dataset.longest);
  const message = get("message");
  const fault = get("message-fault");

  // As the hub counts: one for each character, also where JavaScript keeps two units for it.
  const length = () => [...message.value.trim()].length;
  const servers = (count) => (count === 1 ? "1 server" : `${count} servers`);

  function count() {
    const now = length();
    get("message-count").textContent = `${now} of ${longest} characters`;
    const tooLong = now > longest;
    message.setAttribute("aria-invalid", tooLong ? "true" : "false");
    fault.textContent = tooLong ? `${now - longest} too many` : "";
  }

  // -- the past --

  async function look() {
    const { servers: running, broadcasts } = await ask("GET", "broadcasts");
    get("broadcast-servers").textContent = `${servers(running)} now.`;
    get("history-none").hidden = broadcasts.length > 0;
    get("history").replaceChildren(...broadcasts.map(past));
    return broadcasts;
  }

  function past(one) {
    const when = new Date(one.at).toLocaleString();
    const kind = one.notice.kind.replace("-", " ");
    const ended = { "under way": "being sent", "cut off": "cut off by the hub's end" }[one.state];
    const result = ended || `delivered to ${one.delivered} of ${servers(one.servers)} in ${one.seconds} s`;
    const about = make("div", {},
      make("strong", {}, one.notice.message),
      make("span", { class: "familiar-about" }, `${when}, ${one.by}, ${kind}: ${result}`),
    );
    if (one.failed) {
      const failures = one.deliveries.filter((d) => d.reason).map((d) =>
        make("li", {}, `${d.person}${d.server ? `/${d.server}` : ""}: ${d.reason}`));
      const more = one.failed - failures.length;
      if (more > 0) failures.push(make("li", {}, `and ${more} more`));
      about.append(make("details", {},
        make("summary", {}, one.failed === 1 ? "1 failure" : `${one.failed} failures`),
        make("ul", {}, ...failures)));
    }
    return make("li", {}, about);
  }

  // -- one that is being sent --

  async function follow(broadcast) {
    const rows = [];
    get("outcome").hidden = false;
    get("outcome-progress").hidden = false;
    for (let one = broadcast; ; ) {
      one = await ask("GET", `broadcasts/${one.id}?since=${rows.length}`);
      rows.push(...one.deliveries);
      const tried = one.delivered + one.failed;
      get("outcome-progress").max = Math.max(1, one.servers);
      get("outcome-progress").value = tried;
      get("outcome-progress").hidden = one.state !== "under way";
      get("outcome-status").textContent = told(one);
      // Failures first: they are what somebody has to do something about.
      const sorted = [...rows].sort((a, b) =>
        Number(!a.reason) - Number(!b.reason) || a.person.localeCompare(b.person) || a.server.localeCompare(b.server));
      get("outcome").querySelector("tbody").replaceChildren(...sorted.map(row));
      get("outcome").querySelector(".familiar-table").hidden = !rows.length;
      if (one.state !== "under way") return;
      await later(0.5);
    }
  }

  function told(one) {
    if (!one.servers) return "No server runs: nobody has seen it.";
    if (one.state === "under way") return `Tried ${one.delivered + one.failed} of ${servers(one.servers)}.`;
    const failed = one.failed ? ` It did not reach ${one.failed}.` : "";
    return `Delivered to ${one.delivered} of ${servers(one.servers)} in ${one.seconds} s.${failed}`;
  }

  function row(delivery) {
    const result = delivery.reason
      ? make("td", { class: "familiar-fault" }, delivery.reason)
      : make("td", {}, "delivered");
    return make("tr", {},
      make("th", { scope: "row" }, delivery.person),
      make("td", {}, delivery.server || "default"),
      result,
      make("td", { class: "familiar-number" }, delivery.seconds.toFixed(2)));
  }

  get("broadcast-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const stay = get("stay").value.trim();
    if (!get("stay").checkValidity()) {
      get("stay").reportValidity();
      return;
    }
    const send = get("send");
    if (send.disabled) return;
    send.disabled = true;
    fault.textContent = "";
    try {
      const begun = await ask("POST", "broadcasts", {
        message: message.value,
        kind: get("kind").value,
        auto_close: stay ? Number(stay) : null,
      });
      message.value = "";
      count();
      await follow(begun);
      await look();
    } catch (error) {
      fault.textContent = error.message;
      message.focus();
    }
    send.disabled = false;
  });
  message.addEventListener("input", count);
  count();
  look()
    .then((past) => {
      const going = past.find((one) => one.state === "under way");
      return going && follow(going).then(look);
    })
    .catch((error) => {
      fault.textContent = error.message;
    });
})();
