// Long texts, a page of them at a time.
"use strict";

const Texts = (() => {
  const { make, setText, button } = Elements;

  // Put a text in place of another; what only grew is added to, so that a selection in it stays.
  function put(pre, text) {
    const node = pre.firstChild;
    if (node && text.startsWith(node.data)) {
      if (text.length > node.data.length) node.appendData(text.slice(node.data.length));
    } else {
      pre.textContent = text;
    }
  }

  // How many characters: as the service counts them, where one outside the basic plane is one.
  const count = (text) => [...text].length;

  // An element that shows a text and loads more of it with `load(from)`. Its `show(first)` puts the beginning there.
  function makeText(title, load, level = "h2") {
    const heading = make(level, {}, title);
    const pre = make("pre", { class: "text", dir: "auto" });
    const rest = make("p", { class: "rest", hidden: true });
    const element = make("section", { class: "whole", "aria-label": title }, heading, pre, rest);
    let whole = { text: "", seen: 0, chars: 0 };

    function draw() {
      put(pre, whole.text);
      rest.hidden = whole.seen >= whole.chars;
      if (rest.hidden) return;
      const seen = Words.say("seen_of", { seen: Words.number(whole.seen), chars: Words.number(whole.chars) });
      rest.replaceChildren(seen, " ", button(Words.say("more_text"), more));
    }

    async function more(event) {
      event.target.disabled = true;
      try {
        const page = await load(whole.seen);
        const seen = whole.seen + count(page.text);
        whole = { text: whole.text + page.text, seen, chars: page.text ? page.chars : seen };
        draw();
        (rest.querySelector("button") || pre).focus();
      } catch (error) {
        event.target.disabled = false;
        event.target.after(" ", error.message);
      }
    }

    pre.tabIndex = -1;
    // The beginning again, with news: what was loaded behind it stays unless the beginning has changed.
    element.show = (first) => {
      const isSame = whole.text.length > first.text.length && whole.text.startsWith(first.text);
      if (!isSame) whole = { text: first.text, seen: count(first.text) };
      whole.chars = first.chars;
      draw();
    };
    element.name = (text) => {
      setText(heading, text);
      element.setAttribute("aria-label", text);
    };
    element.tell = (text) => {
      whole = { text: "", seen: 0, chars: 0 };
      put(pre, text);
      rest.hidden = true;
    };
    return element;
  }

  return { make: makeText };
})();
