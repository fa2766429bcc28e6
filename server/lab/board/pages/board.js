"use strict";
// Replaces elements of the board as the server sends them. Every text in them was
// escaped by the server; an element's scripts would not run (the page's policy).
(() => {
  const board = document.getElementById("board");
  const live = document.getElementById("live");
  if (!board || !live || !("EventSource" in window)) return;

  const say = (text) => { if (live.textContent !== text) live.textContent = text; };
  const parser = new DOMParser();
  const element = (html) => document.adoptNode(parser.parseFromString(html, "text/html").body.firstElementChild);

  const apply = (change) => {
    const old = document.getElementById(change.id);
    if (!change.html) { if (old) old.remove(); return; }
    const now = element(change.html);
    if (!old) {
      const place = change.in && document.getElementById(change.in);
      if (!place) return;
      if (change.end) place.append(now); else place.prepend(now);
      now.classList.add("new");
      return;
    }
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    old.replaceWith(now);
    now.classList.add("new");
    if (focused) { const again = document.getElementById(focused); if (again) again.focus(); }
  };

  const trim = () => {
    const lanes = document.getElementById("lanes");
    const most = Number(board.dataset.lanes);
    while (lanes.children.length > most) lanes.lastElementChild.remove();
  };

  // A browser connects again by itself unless it was turned away.
  const listen = (since) => {
    const source = new EventSource(board.dataset.events + "&since=" + since);
    let last = since;
    source.addEventListener("open", () => say(live.dataset.live));
    source.addEventListener("error", () => {
      say(live.dataset.lost);
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000, last);
    });
    source.addEventListener("change", (event) => {
      last = event.lastEventId;
      JSON.parse(event.data).forEach(apply);
      trim();
    });
    source.addEventListener("again", () => location.reload());
    source.addEventListener("ended", () => { source.close(); say(live.dataset.ended); });
  };
  listen(board.dataset.since);
})();
