/**
 * Stripe's request encoding: forms whose names nest by brackets, such as `metadata[order]=7`,
 * `expand[]=customer` or `payment_method_types[0]=card`. The sandbox's own knobs take JSON, which becomes the
 * same tree.
 */

export type FormValue = string | Form;
/** A list is a form whose names are its positions. */
export type Form = { [name: string]: FormValue };

/** Deeper names than Stripe has anywhere are refused, so that a hostile name cannot nest without end. */
const MAX_DEPTH = 8;

/** No prototype: `__proto__` and `constructor` are names like any other. */
function emptyForm(): Form {
  return Object.create(null);
}

/** @throws {SyntaxError} for a name that nests too deep or contradicts an earlier one. */
export function parseForm(pairs: URLSearchParams): Form {
  const root = emptyForm();
  for (const [name, value] of pairs) {
    const path = name.split('[').map((part, index) => (index === 0 ? part : part.replace(/\]$/, '')));
    if (path.length > MAX_DEPTH) throw new SyntaxError(`Invalid parameter name: ${name}`);
    let at = root;
    path.forEach((part, depth) => {
      const key = part === '' ? String(Object.keys(at).length) : part;
      if (depth === path.length - 1) {
        at[key] = value;
        return;
      }
      const next = at[key] ?? emptyForm();
      if (typeof next === 'string') throw new SyntaxError(`Invalid parameter name: ${name}`);
      at[key] = next;
      at = next;
    });
  }
  return root;
}

/** @throws {SyntaxError} for a text that is not a JSON object. */
export function parseJson(text: string): Form {
  const value: unknown = text.trim() === '' ? {} : JSON.parse(text);
  if (typeof value !== 'object' || value === null) throw new SyntaxError('the body is a JSON object');
  return formOf(value);
}

function formOf(value: object): Form {
  const form = emptyForm();
  for (const [name, inner] of Object.entries(value)) {
    form[name] = typeof inner === 'object' && inner !== null ? formOf(inner) : String(inner ?? '');
  }
  return form;
}
