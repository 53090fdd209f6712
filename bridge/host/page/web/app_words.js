// The words of the app that the page has not, in English and Chinese.
"use strict";

const AppWords = {
  en: {
    running: "The other model is at work",
    completed: "Done",
    incomplete: "Stopped before the end",
    failed: "Failed",
    cancelled: "Stopped",
    in_progress: "Goes on",
    needs_input: "Waits for an answer",
    unknown: "Over; this host hands over no details",
    refused: "This host does not show the run",
    failed_calls: "{n} failed",
    guessed: "The host left out the times: the bars show how long each call took, not when.",
    left_out: "{n} more turns and calls are not shown.",
    goes_on: "What comes later is not shown here.",
  },
  "zh-CN": {
    running: "另一个模型正在工作",
    completed: "已完成",
    incomplete: "中途停止",
    failed: "失败",
    cancelled: "已停止",
    in_progress: "仍在进行",
    needs_input: "等待答复",
    unknown: "已结束，宿主没有提供详情",
    refused: "此宿主不显示运行过程",
    failed_calls: "{n} 次失败",
    guessed: "宿主略去了时间：各条只表示调用用时，不表示发生的时刻。",
    left_out: "另有 {n} 个轮次和调用未显示。",
    goes_on: "之后的进展不在此显示。",
  },
};
