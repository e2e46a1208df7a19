/** Bodies of the knobs under `/_sandbox/`, which are JSON. */
import type { Answer, SandboxRequest } from './exchange.ts';

/** `name=value` and no brackets, as `curl -d name=value` sends it. */
const FORM = /^[\w.-]+=[^'{}[\]]*$/;

/** What to send instead of a body that is no JSON object, where that is one; undefined: it is, or there is none. */
export function refusalOfKnobBody({ path, body }: SandboxRequest): Answer | undefined {
  if (!path.startsWith('/_sandbox/') || body.trim() === '' || isJsonObject(body)) return undefined;
  const meant = FORM.test(body) ? ` -d '${JSON.stringify(fieldsOf(body))}'` : ', such as -d \'{"amount":3.2}\'';
  const message = `the body has to be a JSON object and no form: send${meant}; docs/stand-ins.md has the fields of each knob`;
  return { status: 400, body: { error: { message } } };
}

function isJsonObject(text: string): boolean {
  const value = parsed(text);
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Numbers and flags of a form are texts. */
function fieldsOf(form: string): Record<string, unknown> {
  return Object.fromEntries([...new URLSearchParams(form)].map(([name, value]) => [name, parsed(value) ?? value]));
}

/** undefined: it is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
