/** What commander says of a command that there is not, where what is meant has another name here. */

const MEANT: Readonly<Record<string, string>> = {
  refund:
    'bill resolve RECHARGE --refund "reason" refunds a recharge that needs a person or is stuck; any other is refunded in Stripe, and its quota is taken back then',
  recharge:
    'a recharge begins by itself when a balance is low; bill webhook send --team TEAM reports an alert of your own, --dry-run says what of',
};

/** The text with what is meant instead of commander's guess by spelling. */
export function withWhatIsMeant(said: string): string {
  const [, name = ''] = /^error: unknown command '([^']*)'/.exec(said) ?? [];
  const meant = Object.hasOwn(MEANT, name) ? MEANT[name] : undefined;
  return meant === undefined ? said : `error: unknown command '${name}': ${meant}\n`;
}
