// What a real model does not do on demand: attacks, failures, endless answers, chunk borders.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { openBrowser, openPage, refusedRequest } from "./harness.mjs";
import { KEY, startMock } from "./mock.mjs";

let browser;
let mock;
let user;

before(async () => {
  browser = await openBrowser();
});
after(() => browser?.close());

beforeEach(async () => {
  mock = await startMock();
  user = await openPage(browser, mock.url);
  await user.signIn(KEY);
});
afterEach(() => mock.close());

const again = () => user.page.getByRole("button", { name: "Try again" });
const failure = () => user.page.getByRole("alert");

describe("an answer", () => {
  it("is shown with its markdown and highlighted code, which can be copied", async () => {
    await user.context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await user.ask("Show me code");
    assert.equal(await user.answer.locator("figure.code").count(), 2);
    assert.ok((await user.answer.locator(".hljs-keyword").count()) > 2);
    assert.equal(await user.answer.locator("table tr").count(), 3);
    await user.checkAccessible();
    await user.answer.getByRole("button", { name: "Copy" }).first().click();
    await user.answer.getByText("Copied").waitFor();
    const copied = await user.page.evaluate(() => navigator.clipboard.readText());
    assert.match(copied, /^curl https:[^]*-d '/);
    assert.doesNotMatch(copied, /<span/);
    await user.page.locator(".conversation").evaluate((node) => node.scrollTo(0, 0));
    await user.picture("code-top");
    await user.page.locator(".conversation").evaluate((node) => node.scrollTo(0, node.scrollHeight));
    await user.picture("code-end");
    await user.leave();
  });

  it("cannot do anything but be read", async () => {
    const text = await user.ask("Attack");
    assert.match(text, /end of attack/);
    await user.answer.getByText("press me").click();
    await user.page.waitForTimeout(200);
    assert.equal(await user.page.evaluate(() => window.attacked), undefined);
    const harmful = "img, script, svg, iframe, form, style, [onerror], [onload], a[href^='javascript' i]";
    assert.equal(await user.page.locator(".answer .prose").locator(harmful).count(), 0);
    assert.equal(await user.page.locator("#composer").count(), 1);
    await user.picture("attack");
    await user.leave();
  });

  it("is read rightly wherever its bytes are cut", async () => {
    assert.match(await user.ask("Byte by byte"), /Grüße 👋🏽 日本語/);
    await user.leave();
  });

  it("shows a call that the page cannot run", async () => {
    const text = await user.ask("Call my own tool");
    assert.match(text, /Used weather/);
    assert.match(text, /Bergen/);
    assert.match(text, /cannot run/);
    await user.leave();
  });

  it("can be stopped, and the server is told", async () => {
    await user.say("Endless");
    await user.answer.getByText("word5").waitFor();
    await user.picture("streaming");
    await user.page.getByRole("button", { name: "Stop" }).click();
    assert.match(await user.answered(), /You stopped this answer/);
    await until(() => mock.state.disconnects === 1);
    assert.equal(await user.page.evaluate(() => document.activeElement.id), "composer");
    await user.leave();
  });

  it("goes on while another chat is shown", async () => {
    await user.say("What is a skerry?");
    await user.answer.getByText("rocky").waitFor();
    await user.page.getByRole("button", { name: "New chat" }).first().click();
    await user.page.getByRole("heading", { name: "What can I help with?" }).waitFor();
    await user.page.getByRole("link", { name: "What is a skerry?" }).click();
    assert.match(await user.answered(), /one region behind/);
    assert.equal(mock.state.disconnects, 0);
    await user.leave();
  });

  it("stays where the reader is when he scrolls up", async () => {
    await user.page.setViewportSize({ width: 1000, height: 420 });
    await user.say("What is a skerry?");
    await user.answer.getByText("each is near").waitFor();
    await user.page.locator(".conversation").hover();
    await user.page.mouse.wheel(0, -4000);
    await user.page.waitForTimeout(200);
    await user.answered();
    assert.ok((await user.page.locator(".conversation").evaluate((node) => node.scrollTop)) < 40);
    await user.page.getByRole("button", { name: "Scroll to the newest message" }).click();
    await user.page.waitForFunction(() => {
      const node = document.querySelector(".conversation");
      return node.scrollHeight - node.scrollTop - node.clientHeight < 5;
    });
    await user.leave();
  });

  it("can be asked for again, and what was said can be edited", async () => {
    await user.ask("Hello");
    await user.page.getByRole("button", { name: "Answer again" }).click();
    await user.answered();
    assert.equal(await user.page.locator(".answer").count(), 1);
    assert.equal(mock.state.attempts.get("Hello"), 2);
    assert.match(await user.ask("How many messages"), /You sent 3 messages/);
    await user.page.locator(".said").first().hover();
    await user.page.getByRole("button", { name: "Edit" }).first().click();
    assert.equal(await user.composer.inputValue(), "Hello");
    assert.equal(await user.page.locator(".said").count(), 0);
    await user.leave();
  });

  it("may begin with a suggestion of the chosen model, and of no other", async () => {
    const buttons = user.page.locator(".suggestions button");
    assert.deepEqual(await buttons.allTextContents(), ["Hello there", "What is 12 * 7?"]);
    await user.page.getByLabel("Model").selectOption("llama-3-70b");
    await buttons.first().waitFor({ state: "detached" });
    await user.page.getByLabel("Model").selectOption("skerry-demo");
    await buttons.first().click();
    await user.answered();
    assert.equal(mock.state.requests.at(-1).messages.at(-1).content, "Hello there");
    await user.leave();
  });

  it("is asked for with the chosen model and with the platform's events", async () => {
    await user.page.getByLabel("Model").selectOption("llama-3-70b");
    await user.ask("Hello");
    assert.deepEqual(mock.state.requests.at(-1), {
      model: "llama-3-70b",
      messages: [{ role: "user", content: "Hello" }],
      stream: true,
      skerry: { events: true },
    });
    await user.leave();
  });

  it("is read out in sentences, not in tokens", async () => {
    await user.page.evaluate(() => {
      window.spoken = [];
      const region = document.querySelector("[data-live]");
      new MutationObserver(() => window.spoken.push(region.textContent)).observe(region, { childList: true, characterData: true, subtree: true });
    });
    await user.ask("What is a skerry?");
    const spoken = await user.page.evaluate(() => window.spoken);
    assert.ok(spoken.length >= 2 && spoken.length < 10, `${spoken.length} announcements`);
    assert.match(spoken.join(" "), /one region behind/);
    await user.leave();
  });
});

describe("a failure", () => {
  it("in the middle of a stream keeps what came, and trying again helps", async () => {
    const text = await user.ask("Fail midway");
    assert.match(text, /This begins well[^]*The engine stopped while it was answering/);
    await user.checkAccessible();
    await user.picture("error");
    await again().click();
    await user.answer.getByText("and ends well").waitFor();
    assert.equal(await failure().count(), 0);
    await user.leave();
  });

  it("of a limit counts the seconds down", async () => {
    const text = await user.ask("Too fast");
    assert.match(text, /Rate limit reached for requests per minute/);
    assert.match(text, /Try again in [1-5] s/);
    assert.equal(await again().isDisabled(), true);
    await user.picture("limit");
    await user.page.getByRole("button", { name: "Try again", exact: true }).click();
    await user.answer.getByText("Now there is room").waitFor();
    await user.leave({ allow: refusedRequest });
  });

  it("of the key asks for another and then answers", async () => {
    await user.say("Revoked");
    await user.dialog.getByText("This API key was revoked.").waitFor();
    await user.picture("revoked");
    await user.signIn(KEY);
    await user.answer.getByText("The new key works").waitFor();
    await user.leave({ allow: refusedRequest });
  });

  it("of a request is told in the platform's words", async () => {
    assert.match(await user.ask("Refuse this"), /Unsupported field: messages\[0\]\.secret[^]*req_mock_1/);
    await user.leave({ allow: refusedRequest });
  });

  it("of the network can be tried again", async () => {
    // Not a server that hangs up: the browser itself repeats such a request on a used connection.
    await user.page.route("**/v1/chat/completions", (route) => route.abort("internetdisconnected"));
    assert.match(await user.ask("Hello"), /No connection[^]*cannot be reached/);
    await user.page.unroute("**/v1/chat/completions");
    await again().click();
    await user.answer.getByText("What would you like to know").waitFor();
    await user.leave({ allow: refusedRequest });
  });

  it("of an answer that is cut off or filtered is told", async () => {
    assert.match(await user.ask("Cut off"), /This was never[^]*broke off/);
    assert.match(await user.ask("Filtered"), /I would rather not[^]*safety filter/);
    await user.leave();
  });
});

describe("the list of chats", () => {
  it("deletes, and takes it back", async () => {
    await user.ask("Hello");
    await user.page.locator(".chat-row").hover();
    await user.page.getByRole("button", { name: "Delete the chat Hello" }).click();
    await user.page.getByText("Your chats stay in this browser").waitFor();
    await user.page.getByRole("button", { name: "Undo" }).click();
    await user.page.getByRole("link", { name: "Hello" }).click();
    await user.answer.getByText("What would you like to know").waitFor();

    await user.page.getByRole("button", { name: "Settings" }).click();
    await user.dialog.getByRole("button", { name: "Delete all" }).click();
    await user.dialog.getByRole("button", { name: "Really delete all" }).click();
    await user.page.getByText("Your chats stay in this browser").waitFor();
    await user.page.reload();
    await user.page.getByText("Your chats stay in this browser").waitFor();
    await user.leave();
  });
});

async function until(condition, limitMs = 5000) {
  const startMs = Date.now();
  while (!condition()) {
    assert.ok(Date.now() - startMs < limitMs, "it never came to pass");
    await new Promise((done) => setTimeout(done, 20));
  }
}
