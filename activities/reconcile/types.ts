/** What the activities of reconciliation take and return: JSON that stays in workflow history. */
import type { Finding } from '../../src/domain/finding.ts';

export type LostIntent = { intentId: string };
/** `next`: where the next page begins; null at the end. */
export type IntentsPage = { compared: number; findings: Finding[]; lost: LostIntent[]; next: string | null };
export type BudgetsPage = { compared: number; findings: Finding[]; next: string | null };
