// Elements of the page: made, changed in place, and said aloud. Whatever comes from the service becomes text.
"use strict";

const Elements = (() => {
  const SOON_MS = 100;
  const soon = new Map();
  const find = (id) => document.getElementById(id);

  // `on` holds listeners; true is an attribute without a value; false and null are none.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "on") for (const [event, hear] of Object.entries(value)) element.addEventListener(event, hear);
      else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child != null && child !== false));
    return element;
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // Make the children of `parent` those of `items`. What is there already stays the same element, and keeps its focus.
  function reconcile(parent, items, findKey, makeOne, update) {
    const keys = new Set(items.map(findKey));
    const old = new Map();
    for (const child of [...parent.children]) {
      if (keys.has(child.dataset.key)) old.set(child.dataset.key, child);
      else child.remove();
    }
    let next = parent.firstElementChild;
    for (const item of items) {
      const key = findKey(item);
      const element = old.get(key) || makeOne(item);
      element.dataset.key = key;
      update(element, item);
      if (element === next) next = next.nextElementSibling;
      else parent.insertBefore(element, next);
    }
  }

  function button(text, press, attributes = {}) {
    return make("button", { type: "button", on: { click: press }, ...attributes }, text);
  }

  // A heading that a change of the view puts the focus on.
  const title = (text) => make("h1", { tabindex: "-1", class: "title" }, text);

  const note = (text, attributes = {}) => make("p", { class: "note", ...attributes }, text);

  const time = (at) => make("time", { datetime: new Date(at * 1000).toISOString() }, Words.showTime(at));

  // Say something to those who do not see the page. It is emptied first, so that the same words are said again; what
  // is said at nearly the same time is said together.
  function say(text, { urgent = false } = {}) {
    const region = find(urgent ? "urgent" : "aloud");
    const texts = soon.get(region) || [];
    soon.set(region, [...texts, text]);
    region.textContent = "";
    if (!texts.length) setTimeout(() => speak(region), SOON_MS);
  }

  function speak(region) {
    region.textContent = [...new Set(soon.get(region))].join(" ");
    soon.delete(region);
  }

  // Ask before something that cannot be undone; neither button is pressed by Enter unless it was gone to.
  function confirm(question, { yes, no }) {
    const dialog = find("dialog");
    return new Promise((resolve) => {
      const end = (answer) => () => dialog.close(answer);
      const heading = make("h2", { id: "dialog-title", tabindex: "-1", autofocus: true }, question);
      const risky = button(yes, end("yes"), { class: "risky" });
      dialog.replaceChildren(heading, make("div", { class: "choices" }, button(no, end("")), risky));
      dialog.returnValue = "";
      dialog.onclose = () => resolve(dialog.returnValue === "yes");
      dialog.showModal();
    });
  }

  return { find, make, setText, reconcile, button, title, note, time, say, confirm };
})();
