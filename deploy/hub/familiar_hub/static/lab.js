// The home page's part about one's own lab: what there is, and the two things to do about it.
"use strict";

(function () {
  const { ask, make, later } = window.familiar;
  const place = document.getElementById("lab");
  const person = encodeURIComponent(place.dataset.person);
  const status = document.getElementById("lab-status");
  const BUSY = { spawn: "starting", stop: "stopping", check: "restarting" };
  // Right below the buttons that start and stop it, before JupyterHub's further servers. Its template
  // has no block there; where the buttons are elsewhere, this stays at the end of the page.
  const buttons = document.getElementById("start")?.closest(".container > .row");
  if (buttons) {
    place.classList.remove("container");
    buttons.after(place);
  }
  let drawn = "";
  let watched = 0;

  const called = (server) =>
    server.name ? `the server ${server.display_name}` : "the default server";

  const isRestarting = (server) =>
    Boolean(server.restart) && server.restart.outcome === "under way";

  // -- what there is --

  async function look() {
    let lab;
    try {
      lab = await ask("GET", `users/${person}/lab`);
    } catch (fault) {
      say(fault.message, true);
      place.hidden = false;
      return null;
    }
    // Drawn anew only when something has changed: whoever is on a button stays there.
    const now = JSON.stringify(lab);
    if (now !== drawn) {
      drawn = now;
      draw(lab);
    }
    return lab;
  }

  function draw(lab) {
    const focused = document.activeElement && document.activeElement.dataset.key;
    const servers = lab.servers.filter((s) => s.restartable && (s.ready || s.pending));
    fill("lab-servers", servers.map(serverRow));
    fill("lab-volumes", lab.volumes.map((volume) => volumeRow(volume, lab.servers)));
    place.hidden = !servers.length && !lab.volumes.length;
    if (focused) {
      const again = place.querySelector(`[data-key="${CSS.escape(focused)}"]`);
      if (again) again.focus();
    }
  }

  function fill(id, rows) {
    const part = document.getElementById(id);
    part.hidden = !rows.length;
    part.querySelector("ul").replaceChildren(...rows);
  }

  function serverRow(server) {
    const restart = server.restart;
    const goesOn = isRestarting(server);
    const name = server.name ? server.display_name : "Default server";
    const about = [make("strong", {}, name)];
    if (goesOn) {
      about.push(
        make("span", { class: "familiar-about" }, `${restart.step} (${Math.round(restart.seconds)} s)`),
        make("progress", {
          class: "familiar-progress", max: 100, value: restart.progress,
          "aria-label": `Restarting ${name}`,
        }),
      );
    } else if (server.pending) {
      about.push(make("span", { class: "familiar-about" }, BUSY[server.pending] || server.pending));
    } else if (restart && restart.outcome === "failed") {
      about.push(make("span", { class: "familiar-fault" }, `The restart failed. ${restart.reason}`));
    } else {
      about.push(make("span", { class: "familiar-about" }, "running"));
    }
    const button = make("button", {
      type: "button", class: "btn familiar-plain", disabled: Boolean(server.pending) || goesOn,
      "data-key": `restart ${server.name}`, "aria-label": `Restart ${called(server)}`,
      onclick: () => askToRestart(server),
    }, "Restart");
    return make("li", {}, make("div", {}, ...about), button);
  }

  function volumeRow(volume, servers) {
    const names = volume.used_by.map((name) => called(servers.find((s) => s.name === name) || { name, display_name: name }));
    const about = [
      make("strong", {}, volume.kind),
      make("span", { class: "familiar-about" }, volume.summary),
    ];
    if (names.length) {
      about.push(make("span", { class: "familiar-about" }, `In use by ${names.join(" and ")}.`));
    }
    const button = make("button", {
      type: "button", class: "btn familiar-danger-plain", disabled: names.length > 0,
      "data-key": `reset ${volume.kind}`, "aria-label": `Reset the volume ${volume.kind}`,
      onclick: () => askToReset(volume),
    }, "Reset…");
    return make("li", {}, make("div", {}, ...about), button);
  }

  function say(text, isFault) {
    status.textContent = text;
    status.classList.toggle("familiar-fault", Boolean(isFault));
  }

  // -- what to do about it --

  function open(id, texts, go) {
    const dialog = document.getElementById(id);
    const fault = dialog.querySelector(".familiar-fault");
    const button = dialog.querySelector("[data-go]");
    fault.textContent = "";
    for (const [name, text] of Object.entries(texts)) {
      for (const element of dialog.querySelectorAll(`[data-${name}]`)) element.textContent = text;
    }
    dialog.querySelector("[data-cancel]").onclick = () => dialog.close();
    dialog.querySelector("form").onsubmit = async (event) => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      fault.textContent = "";
      try {
        await go();
        dialog.close();
      } catch (error) {
        fault.textContent = error.message;
      }
      button.disabled = false;
    };
    dialog.showModal();
    return dialog;
  }

  function askToReset(volume) {
    const { kind, name, summary } = volume;
    const dialog = open("reset", { kind, name, summary }, async () => {
      await ask("POST", `users/${person}/volumes/${encodeURIComponent(kind)}/reset`, { confirm: name });
      say(`The volume ${kind} is new and empty.`);
      await look();
    });
    const word = dialog.querySelector("input");
    const button = dialog.querySelector("[data-go]");
    word.value = "";
    button.disabled = true;
    word.oninput = () => {
      button.disabled = word.value.trim() !== kind;
    };
    word.focus();
  }

  function askToRestart(server) {
    open("restart", { server: called(server) }, async () => {
      const where = server.name ? `servers/${encodeURIComponent(server.name)}` : "server";
      await ask("POST", `users/${person}/${where}/restart`);
      say("");
      watch((lab) => {
        const now = lab.servers.find((s) => s.name === server.name);
        if (!now || !now.restart || now.restart.outcome === "under way") return;
        if (now.restart.outcome === "done") {
          say(`Restarted ${called(server)} in ${now.restart.seconds} s.`);
        } else {
          say(`Restarting ${called(server)} failed. ${now.restart.reason}`, true);
        }
      });
    });
  }

  // Look again each second while something goes on, and for a while after a click on JupyterHub's
  // own buttons. A page that nobody touches asks nothing.
  async function watch(seen, atLeast = 0) {
    const mine = ++watched;
    const until = Date.now() + 1000 * atLeast;
    for (;;) {
      const lab = await look();
      if (mine !== watched || !lab) return;
      if (seen) seen(lab);
      // While the proxy is told of a restarted server, the hub has it no longer as pending.
      const busy = lab.servers.some((s) => s.pending || isRestarting(s));
      if (!busy && Date.now() > until) return;
      await later(1);
      if (mine !== watched) return;
    }
  }

  document.addEventListener("click", (event) => {
    if (event.target.closest("#stop, .stop-server, .delete-server")) watch(null, 15);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) watch(null);
  });
  watch(null);
})();
