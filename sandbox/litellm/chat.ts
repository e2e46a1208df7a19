/** LLM requests, as far as their cost and the team's budget go. */
import { randomUUID } from 'node:crypto';
import type { Answer } from '../exchange.ts';
import type { Call, Context } from './context.ts';
import { proxyException } from './errors.ts';
import { pyFloat } from './python.ts';
import { readBody } from './validation.ts';

/**
 * POST /chat/completions. The body may hold `"sandbox_cost": 1.5`, what this call costs in US dollars instead
 * of `--call-cost`; the real proxy computes it from the model's price. Any model is known; the answer is not
 * streamed.
 */
export function chatCompletion({ budget, settings }: Context, { body, caller }: Call): Answer {
  const wanted = readBody({ model: 'string', messages: 'list', sandbox_cost: 'float' }, body);
  const { key } = caller;
  const cost = wanted.sandbox_cost ?? settings.call_cost;
  const team = key && budget.admit(key, cost);
  if (!wanted.messages) {
    throw proxyException(400, 'invalid_request_error', "/chat/completions: Missing required parameter: 'messages'.", 'messages');
  }
  if (key) budget.charge(team, key, cost);
  return {
    status: 200,
    headers: { 'x-litellm-version': settings.version, 'x-litellm-response-cost': pyFloat(cost) },
    body: {
      id: `chatcmpl-${randomUUID()}`,
      created: Math.floor(Date.now() / 1000),
      model: wanted.model ?? 'fake',
      object: 'chat.completion',
      choices: [{ finish_reason: 'stop', index: 0, message: { content: 'hello there', role: 'assistant' } }],
      usage: { completion_tokens: 20, prompt_tokens: 10, total_tokens: 30 },
    },
  };
}
