// A host's side of MCP Apps, by the official package: it puts the page into a sandboxed frame and hands over what it is
// told. Bundled for a browser by app_bundle.mjs. Not allowed in the frame: anything but scripts.

import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

const seen = { heights: [], asked: [], errors: [], app: null, log: [] };

window.addEventListener("message", ({ data }) => seen.log.push(data?.method ?? "reply"));

async function open(html, hostContext) {
  document.querySelector("iframe")?.remove();
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = "app";
  document.body.append(frame);
  const bridge = new AppBridge(null, { name: "tests", version: "1" }, { serverTools: {}, openLinks: {} }, { hostContext });
  const ready = new Promise((resolve) => (bridge.oninitialized = resolve));
  bridge.onsizechange = ({ height }) => {
    seen.heights.push(height);
    frame.style.height = `${height}px`;
  };
  bridge.oncalltool = async (params) => seen.asked.push(params) && { content: [] };
  bridge.onopenlink = async (params) => seen.asked.push(params) && {};
  bridge.onmessage = async (params) => seen.asked.push(params) && {};
  bridge.onerror = (error) => seen.errors.push(String(error));
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  frame.srcdoc = html;
  await ready;
  seen.app = bridge.getAppVersion();
  return bridge;
}

window.host = { open: async (...given) => void (window.bridge = await open(...given)), seen };
